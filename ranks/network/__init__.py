"""What messages cost on which network. It knows no rank that runs and no message that is sent."""

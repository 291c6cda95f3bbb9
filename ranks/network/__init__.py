"""The cost of messages on each network. It knows no rank that runs and no message that is sent."""

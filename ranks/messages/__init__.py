"""One message from post to receipt: matching, buffering, ports. It knows no call by which a program asks for it."""

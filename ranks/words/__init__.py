"""The words that all rooms speak: constants, datatypes, errors, statuses, groups. They know no rank and no message."""

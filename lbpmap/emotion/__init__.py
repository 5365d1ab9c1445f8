"""The paper's nets: where they are, what they want to see, what they answer."""

"""Language models that labels steer: each text begins with the start state of its labels."""

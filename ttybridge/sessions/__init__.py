"""The shared session: who is attached, to which pty, with which role."""

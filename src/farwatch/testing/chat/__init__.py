"""Fakes of chat and push services, at the level of their wire protocols, on loopback: strict, recording, and able to misbehave."""

"""The real process on real services: published to from outside, watched through its rows and mails, killed at will."""

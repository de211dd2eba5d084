"""What the tests of the real image need: containers, and a team's image made as deploy/image/README.md says."""

"""Small programs that tests run as processes of their own, by `python -m`, with settings in the environment."""

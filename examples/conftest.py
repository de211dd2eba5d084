pytest_plugins = ["webhooks.testing.plugin"]

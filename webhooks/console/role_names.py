"""The names of the roles. Without Django: the settings read them."""

VIEWER, OPERATOR, ADMINISTRATOR = ROLES = ("viewer", "operator", "administrator")

"""Makes a user in each role, named like the role, with the password that is given: `… make_users PASSWORD`."""

import sys

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402

from tests.support.people import EVERYBODY, user_in  # noqa: E402

for role in EVERYBODY:
    user: User = user_in(role)
    user.set_password(sys.argv[1])
    user.save()

"""Fill an empty database with what a first look needs: an administrator and three rooms."""

import secrets
from typing import Any

from django.core.management.base import BaseCommand

from accounts.models import User
from rooms.models import Room
from rooms.services import create_room

ROOMS = ("Lobby", "Help", "Random")


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        if User.objects.exists():
            return
        password = secrets.token_urlsafe(12)
        admin = User.objects.create_superuser(username="admin", password=password)
        for name in ROOMS:
            create_room(owner=admin, name=name, kind=Room.Kind.PUBLIC)
        self.stdout.write(f"The database was empty. Administrator: admin, password: {password} (shown only this once)")

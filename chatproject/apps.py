from django.apps import AppConfig


class ChatProjectConfig(AppConfig):
    name = "chatproject"

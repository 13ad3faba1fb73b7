from django.urls import path

from messaging.views import account, index

urlpatterns = [path("", index, name="index"), path("account", account, name="account")]

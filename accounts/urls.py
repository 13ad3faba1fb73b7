from django.urls import path

from accounts import views

urlpatterns = [
    path("", views.ForgottenPasswordView.as_view(), name="forgotten-password"),
    path("sent", views.reset_sent, name="reset-sent"),
    path("done", views.password_is_set, name="password-is-set"),
    path("<uidb64>/<token>/", views.NewPasswordView.as_view(), name="new-password"),
]

"""URLs outside the admin."""

from django.urls import path

from jobledger import views

app_name = "jobledger"
urlpatterns = [path("healthz", views.health, name="health")]

"""The service's own pages beside the admin."""

from django.urls import path

from tasks_app.jobs import views

app_name = "jobs"
urlpatterns = [path("healthz", views.health, name="health")]

"""What a user would write without this service: commands, a Celery task that calls them, and stock beat.

The app has no models; django-celery-beat's and django-celery-results' are all that it needs.
"""

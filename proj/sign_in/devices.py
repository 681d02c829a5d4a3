"""A user's second factor: an authenticator app, and recovery codes for when the phone is lost."""

import time
from typing import Any

import segno
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django_otp.models import Device
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

NAME = "Authenticator app"
WRONG_CODE = "This code is wrong, or no longer valid. Enter the one that your app shows now."


def has_second_factor(user: User) -> bool:
    """Whether the user can be asked for a code: of an app, or a recovery code."""
    apps = TOTPDevice.objects.devices_for_user(user, confirmed=True)
    recovery_codes = StaticToken.objects.filter(device__user=user, device__confirmed=True)
    return bool(apps.exists() or recovery_codes.exists())


def verify(user: User, code: str) -> Device:
    """The device that accepts the code. Raises ValidationError, which says what to do.

    A code is accepted once. After a wrong one a device takes no other for a while, which doubles each time.
    """
    # Only the devices that the code can be of: each of them counts it as a failure when it is not.
    model = TOTPDevice if code.isdecimal() else StaticDevice
    with transaction.atomic():
        devices = list(model.objects.devices_for_user(user, confirmed=True).select_for_update())
        waits = [_seconds_to_wait(device) for device in devices]
        accepted = next((device for device in devices if device.verify_token(code)), None)
    if accepted is not None:
        return accepted
    if waits and all(waits):
        raise ValidationError(f"Too many wrong codes. Wait {max(waits)} s, then enter a new one.", "wait")
    raise ValidationError(WRONG_CODE, "wrong")


def enrol(user: User, key: str, code: str) -> Device:
    """Make an app with this key the user's only one, if the code proves that it is set up."""
    totp = TOTP(new_device(user, key).bin_key)
    totp.time = time.time()
    if not (code.isascii() and code.isdecimal() and totp.verify(int(code), tolerance=1)):
        raise ValidationError(WRONG_CODE, "wrong")
    with transaction.atomic():
        TOTPDevice.objects.devices_for_user(user).delete()
        device = new_device(user, key)
        # What has proven it cannot be used again.
        device.last_t, device.drift = totp.t(), totp.drift
        device.save()
    return device


def new_device(user: User, key: str) -> Any:
    """An app's device that is not saved."""
    return TOTPDevice(user=user, name=NAME, key=key)


def qr_code(address: str) -> SafeString:
    """A picture for the app's camera: SVG without styles, as the pages' policy wants it."""
    drawn = segno.make(address, error="m").svg_inline(border=2, light="#fff", svgclass="qr", omitsize=True)
    return mark_safe(drawn)  # noqa: S308 - drawn from modules; no text of the address is in it


def _seconds_to_wait(device: Device) -> int:
    """How long the device takes no code; 0: it takes one now."""
    allowed, why = device.verify_is_allowed()
    return 0 if allowed else max(1, round((why["locked_until"] - timezone.now()).total_seconds()))

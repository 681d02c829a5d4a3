"""A user's second factor: an authenticator app, and recovery codes in case the phone is lost."""

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
    """Whether the user has an authenticator app or recovery codes."""
    apps = TOTPDevice.objects.devices_for_user(user, confirmed=True)
    recovery_codes = StaticToken.objects.filter(device__user=user, device__confirmed=True)
    return bool(apps.exists() or recovery_codes.exists())


def verify(user: User, code: str) -> Device:
    """The device that accepts the code. Raises ValidationError, which says what to do.

    A code is accepted only once. After a wrong one, a device accepts none for a while, which doubles each
    time.
    """
    # Only the devices that the code could belong to, since each of them counts a wrong code as a failure.
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
    """Replace the user's app by one with this key, if the code proves that it is set up."""
    totp = TOTP(new_device(user, key).bin_key)
    totp.time = time.time()
    if not (code.isascii() and code.isdecimal() and totp.verify(int(code), tolerance=1)):
        raise ValidationError(WRONG_CODE, "wrong")
    with transaction.atomic():
        TOTPDevice.objects.devices_for_user(user).delete()
        device = new_device(user, key)
        # The code that proved it cannot be used again.
        device.last_t, device.drift = totp.t(), totp.drift
        device.save()
    return device


def new_device(user: User, key: str) -> Any:
    """An unsaved device for an app."""
    return TOTPDevice(user=user, name=NAME, key=key)


def qr_code(address: str) -> SafeString:
    """A QR code for the app to scan: SVG without styles, because of the content security policy."""
    drawn = segno.make(address, error="m").svg_inline(border=2, light="#fff", svgclass="qr", omitsize=True)
    return mark_safe(drawn)  # noqa: S308 - generated, without any text from the address


def _seconds_to_wait(device: Device) -> int:
    """How long until the device accepts a code; 0 if it does now."""
    allowed, why = device.verify_is_allowed()
    return 0 if allowed else max(1, round((why["locked_until"] - timezone.now()).total_seconds()))

"""The form of a new replay: its filters, which stand in the URL, and what is asked for as it is confirmed."""

from datetime import datetime
from typing import Any

from django import forms
from django.utils import timezone

from webhooks.inbox.replays import life
from webhooks.inbox.replays.counting import Frozen
from webhooks.inbox.replays.scope import STATES, Scope, ScopeError, newest_id

_STATE_WORDS = {
    "dead": "dead: attempts spent, or given up by the handler",
    "skipped": "skipped: given up by an operator",
    "succeeded": "succeeded: run once more, effects included",
}
_OF_SCOPE = {"missing": "is_missing", "installation": "installation_id"}
"""The fields whose names in the URL are not those of Scope."""
LARGEST_ID = 2**63 - 1


class ScopeForm(forms.Form):
    """The filters. Other pages link here with theirs."""

    handler = forms.CharField(max_length=200, required=False)
    missing = forms.BooleanField(required=False)
    state = forms.ChoiceField(choices=[(state.value, _STATE_WORDS[state]) for state in STATES], required=False)
    event = forms.CharField(max_length=100, required=False)
    action = forms.CharField(max_length=100, required=False)
    repository = forms.CharField(max_length=255, required=False)
    installation = forms.IntegerField(min_value=0, max_value=LARGEST_ID, required=False)
    fingerprint = forms.CharField(max_length=16, required=False)
    since = forms.DateTimeField(required=False)
    until = forms.DateTimeField(required=False)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                self.scope.check()
            except ScopeError as error:
                raise forms.ValidationError(str(error)) from None
        return cleaned

    @property
    def scope(self) -> Scope:
        """Return the filters, after they were found valid."""
        given = {_OF_SCOPE.get(name, name): value for name, value in self.cleaned_data.items() if value is not None}
        return Scope(**given | {"state": given.get("state") or STATES[0]})


class ConfirmForm(forms.Form):
    """What is confirmed: the rows up to these bounds, as the preview has counted them, how fast and why."""

    rate = forms.FloatField(min_value=life.LOWEST_RATE, max_value=life.HIGHEST_RATE)
    reason = forms.CharField(max_length=500)
    last_id = forms.IntegerField(min_value=0, max_value=LARGEST_ID)
    cut_at = forms.DateTimeField()

    def frozen(self, scope: Scope) -> Frozen:
        """Return the bounds, which are never later than now."""
        last_id: int = min(self.cleaned_data["last_id"], newest_id(scope))
        cut_at: datetime = min(self.cleaned_data["cut_at"], timezone.now())
        return Frozen(last_id=last_id, cut_at=cut_at)

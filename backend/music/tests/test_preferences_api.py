"""A listener's own preferences."""

from .cases import ApiTestCase

URL = "/api/me/preferences/"
DEFAULTS = {"preferred_language": "en", "audio_quality": "192", "theme_preference": "dark"}


class PreferencesTests(ApiTestCase):
    def test_a_new_listener_has_the_defaults(self) -> None:
        self.assertEqual(self.client.get(URL).json(), DEFAULTS)

    def test_one_preference_changes_without_the_others(self) -> None:
        response = self.client.patch(URL, {"preferred_language": "hi"})

        self.assertEqual(response.json(), {**DEFAULTS, "preferred_language": "hi"})
        self.asha.refresh_from_db()
        self.assertEqual(self.asha.preferred_language, "hi")

    def test_a_change_is_the_callers_alone(self) -> None:
        self.client.patch(URL, {"theme_preference": "light"})

        self.ben.refresh_from_db()
        self.assertEqual(self.ben.theme_preference, "dark")

    def test_an_unknown_quality_is_refused(self) -> None:
        response = self.client.patch(URL, {"audio_quality": "64"})

        self.assertEqual(response.status_code, 400)
        self.assertEqual(response.json(), {"audio_quality": ['"64" is not a valid choice.']})

    def test_nothing_else_of_the_user_can_be_changed(self) -> None:
        self.client.patch(URL, {"is_superuser": True, "username": "root"})

        self.asha.refresh_from_db()
        self.assertFalse(self.asha.is_superuser)
        self.assertEqual(self.asha.username, "asha")

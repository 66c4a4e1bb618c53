"""The admin site's pages open, and large tables stay out of drop-downs."""

from django.test import TestCase, override_settings

from music.models import AnalyticsEvent, Playlist, User

from .cases import make_song


@override_settings(SECURE_SSL_REDIRECT=False)
class AdminTests(TestCase):
    def setUp(self) -> None:
        self.root = User.objects.create_superuser("root")
        self.client.force_login(self.root)
        self.song = make_song("Searched")
        self.playlist = Playlist.objects.create(user=self.root, title="Searched")
        self.playlist.entries.create(song=self.song, position=0)
        self.event = AnalyticsEvent.objects.create(
            event_type="Searched", session_id="s-1", user=self.root, song=self.song
        )

    def test_every_list_opens_and_searches(self) -> None:
        for model in ("user", "song", "playlist", "analyticsevent"):
            response = self.client.get(f"/admin/music/{model}/", {"q": "searched"})

            self.assertEqual(response.status_code, 200, model)

    def test_every_row_opens(self) -> None:
        for row in (self.root, self.song, self.playlist, self.event):
            response = self.client.get(f"/admin/music/{row._meta.model_name}/{row.pk}/change/")

            self.assertEqual(response.status_code, 200, row)

    def test_a_playlists_page_does_not_list_the_catalogue(self) -> None:
        make_song("Not in the playlist")

        response = self.client.get(f"/admin/music/playlist/{self.playlist.pk}/change/")

        self.assertContains(response, "Searched")
        self.assertNotContains(response, "Not in the playlist")

    def test_events_can_be_neither_added_nor_changed(self) -> None:
        added = self.client.get("/admin/music/analyticsevent/add/")
        changed = self.client.post(f"/admin/music/analyticsevent/{self.event.pk}/change/", {"event_type": "x"})

        self.assertEqual((added.status_code, changed.status_code), (403, 403))

"""Who sees and changes playlists, and the order of their songs."""

from unittest.mock import ANY

from music.models import Playlist, Song, User

from .cases import ApiTestCase, make_song

NOT_OWNER = {"detail": "Only the owner of a playlist may change it."}


def make_playlist(user: User, *songs: Song, title: str = "Road trip", is_public: bool = False) -> Playlist:
    playlist = Playlist.objects.create(user=user, title=title, is_public=is_public)
    for position, song in enumerate(songs):
        playlist.entries.create(song=song, position=position)
    return playlist


def order_of(playlist: Playlist) -> list[tuple[int, str]]:
    return list(playlist.entries.values_list("position", "song__title"))


class VisibilityTests(ApiTestCase):
    def test_a_created_playlist_belongs_to_the_caller_and_is_private(self) -> None:
        response = self.client.post("/api/playlists/", {"title": "सुबह", "user": self.ben.pk})

        self.assertEqual(response.status_code, 201)
        self.assertEqual(
            response.json(),
            {
                "id": ANY,
                "title": "सुबह",
                "description": "",
                "is_public": False,
                "owner": "asha",
                "song_count": 0,
                "created_at": ANY,
                "updated_at": ANY,
            },
        )

    def test_a_private_playlist_is_found_by_its_owner_alone(self) -> None:
        private = make_playlist(self.ben, make_song())
        url = f"/api/playlists/{private.pk}/"

        refused = [
            self.client.get(url),
            self.client.patch(url, {"title": "Mine"}),
            self.client.delete(url),
            self.client.get(f"{url}songs/"),
            self.client.post(f"{url}songs/", {"song": 1}),
            self.client.put(f"{url}order/", {"songs": []}),
        ]

        self.assertEqual([response.status_code for response in refused], [404] * 6)
        self.client.force_authenticate(self.ben)
        self.assertEqual(self.client.get(url).json()["song_count"], 1)

    def test_a_public_playlist_is_read_by_everybody_and_changed_by_its_owner_alone(self) -> None:
        song = make_song()
        public = make_playlist(self.ben, song, is_public=True)
        url = f"/api/playlists/{public.pk}/"

        refused = [
            self.client.patch(url, {"title": "Mine"}),
            self.client.delete(url),
            self.client.post(f"{url}songs/", {"song": song.pk}),
            self.client.delete(f"{url}songs/{song.pk}/"),
            self.client.put(f"{url}order/", {"songs": [song.pk]}),
        ]

        self.assertEqual([(one.status_code, one.json()) for one in refused], [(403, NOT_OWNER)] * 5)
        self.assertEqual(self.client.get(url).status_code, 200)
        self.assertEqual(self.client.get(f"{url}songs/").json()["results"][0]["song"]["id"], song.pk)

    def test_the_list_holds_my_own_and_everybodys_public_playlists(self) -> None:
        own = make_playlist(self.asha)
        public = make_playlist(self.ben, is_public=True)
        make_playlist(self.ben)

        def listed(**query: str) -> list[int]:
            return [playlist["id"] for playlist in self.client.get("/api/playlists/", query).json()["results"]]

        self.assertEqual(listed(), [public.pk, own.pk])
        self.assertEqual(listed(mine="true"), [own.pk])
        self.assertEqual(listed(mine="false"), [public.pk])
        self.assertEqual(listed(is_public="true"), [public.pk])

    def test_a_page_takes_one_query_however_many_playlists_it_has(self) -> None:
        songs = [make_song("One"), make_song("Two")]
        for _ in range(10):
            make_playlist(self.asha, *songs)

        with self.assertNumQueries(1):
            answer = self.client.get("/api/playlists/").json()

        self.assertEqual([playlist["song_count"] for playlist in answer["results"]], [2] * 10)

    def test_the_owner_renames_and_deletes(self) -> None:
        playlist = make_playlist(self.asha, make_song())
        url = f"/api/playlists/{playlist.pk}/"

        renamed = self.client.patch(url, {"title": "Renamed"}).json()
        deleted = self.client.delete(url)

        self.assertEqual((renamed["title"], renamed["song_count"]), ("Renamed", 1))
        self.assertEqual(deleted.status_code, 204)
        self.assertFalse(Playlist.objects.exists())


class OrderTests(ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.a, self.b, self.c = (make_song(title) for title in "abc")
        self.playlist = make_playlist(self.asha, self.a, self.b, self.c)
        self.url = f"/api/playlists/{self.playlist.pk}/"

    def test_songs_are_listed_in_their_order_page_by_page(self) -> None:
        self.client.put(f"{self.url}order/", {"songs": [self.c.pk, self.a.pk, self.b.pk]})

        first = self.client.get(f"{self.url}songs/", {"page_size": 2}).json()
        second = self.client.get(first["next"]).json()

        titles = [entry["song"]["title"] for page in (first, second) for entry in page["results"]]
        self.assertEqual(titles, ["c", "a", "b"])
        self.assertEqual(first["results"][0], {"position": 0, "added_at": ANY, "song": ANY})

    def test_listing_songs_takes_two_queries_however_many_there_are(self) -> None:
        with self.assertNumQueries(2):
            self.client.get(f"{self.url}songs/")

    def test_a_song_is_added_at_the_end(self) -> None:
        before = self.playlist.updated_at

        response = self.client.post(f"{self.url}songs/", {"song": make_song("d").pk})

        self.assertEqual((response.status_code, response.json()["position"]), (201, 3))
        self.assertEqual(order_of(self.playlist), [(0, "a"), (1, "b"), (2, "c"), (3, "d")])
        self.playlist.refresh_from_db()
        self.assertGreater(self.playlist.updated_at, before)

    def test_a_song_is_inserted_and_later_songs_move_down(self) -> None:
        self.client.post(f"{self.url}songs/", {"song": make_song("d").pk, "position": 1})

        self.assertEqual(order_of(self.playlist), [(0, "a"), (1, "d"), (2, "b"), (3, "c")])

    def test_a_song_is_removed_and_later_songs_move_up(self) -> None:
        response = self.client.delete(f"{self.url}songs/{self.a.pk}/")

        self.assertEqual(response.status_code, 204)
        self.assertEqual(order_of(self.playlist), [(0, "b"), (1, "c")])

    def test_an_order_closes_gaps_that_lost_songs_left(self) -> None:
        self.b.delete()

        self.client.put(f"{self.url}order/", {"songs": [self.c.pk, self.a.pk]})

        self.assertEqual(order_of(self.playlist), [(0, "c"), (1, "a")])

    def test_refused_changes_say_why_and_change_nothing(self) -> None:
        add, order = f"{self.url}songs/", f"{self.url}order/"
        not_all = {"songs": ["The order must name each of the playlist's 3 songs exactly once."]}
        cases = [
            (self.client.post, add, {}, {"song": ["This field is required."]}),
            (self.client.post, add, {"song": 10**17}, {"song": [f"Song {10**17} does not exist."]}),
            (
                self.client.post,
                add,
                {"song": self.a.pk},
                {"detail": f"Song {self.a.pk} is in this playlist already."},
            ),
            (
                self.client.post,
                add,
                {"song": make_song("d").pk, "position": 4},
                {"detail": "Position 4 is beyond the playlist's end, which is 3."},
            ),
            (self.client.put, order, {"songs": [self.a.pk]}, not_all),
            (self.client.put, order, {"songs": [self.a.pk, self.a.pk, self.b.pk]}, not_all),
            (
                self.client.put,
                order,
                {"songs": [1] * 1001},
                {"songs": ["Send at most 1000 items at once, not 1001."]},
            ),
        ]
        for call, url, body, message in cases:
            response = call(url, body)

            self.assertEqual((response.status_code, response.json()), (400, message))
        self.assertEqual(order_of(self.playlist), [(0, "a"), (1, "b"), (2, "c")])

    def test_removing_a_song_that_is_not_there_is_not_found(self) -> None:
        response = self.client.delete(f"{self.url}songs/{10**17}/")

        self.assertEqual(response.status_code, 404)
        self.assertEqual(response.json(), {"detail": f"Song {10**17} is not in this playlist."})

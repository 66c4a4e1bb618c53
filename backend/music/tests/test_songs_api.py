"""Reading the catalogue."""

from music.models import Song

from .cases import ApiTestCase, make_song


class SongListTests(ApiTestCase):
    def test_songs_come_newest_first_with_every_field(self) -> None:
        older, newer = make_song("Older"), make_song("नया गाना")

        answer = self.client.get("/api/songs/").json()

        self.assertEqual([song["id"] for song in answer["results"]], [newer.id, older.id])
        self.assertEqual(
            answer["results"][0],
            {
                "id": newer.id,
                "title": "नया गाना",
                "artist": "Sukhwinder Singh",
                "album": "",
                "language": "hindi",
                "genre": "",
                "duration_seconds": 240,
                "audio_url": "https://cdn.villen.example/audio/1.m4a",
                "cover_url": "",
                "play_count": 0,
                "released_on": None,
            },
        )

    def test_language_narrows_the_list(self) -> None:
        hindi = make_song(language="hindi")
        make_song(language="english")

        answer = self.client.get("/api/songs/", {"language": "hindi"}).json()

        self.assertEqual([song["id"] for song in answer["results"]], [hindi.id])

    def test_an_unknown_language_is_refused(self) -> None:
        response = self.client.get("/api/songs/", {"language": "klingon"})

        self.assertEqual(response.status_code, 400)
        self.assertEqual(
            response.json(),
            {"language": ["Select a valid choice. klingon is not one of the available choices."]},
        )

    def test_search_finds_words_in_title_or_artist_whatever_their_case(self) -> None:
        by_title = make_song("Midnight Rain", artist="Meera Nair")
        by_artist = make_song("Echoes", artist="Midnight Club")
        make_song("Golden Skies", artist="Meera Nair")

        answer = self.client.get("/api/songs/", {"search": "midnight"}).json()

        self.assertEqual([song["id"] for song in answer["results"]], [by_artist.id, by_title.id])

    def test_pages_join_up_while_songs_arrive(self) -> None:
        ids = [make_song(f"Song {number}").id for number in range(5)]

        first = self.client.get("/api/songs/", {"page_size": 2}).json()
        make_song("Arrived meanwhile")
        second = self.client.get(first["next"]).json()
        third = self.client.get(second["next"]).json()

        seen = [song["id"] for page in (first, second, third) for song in page["results"]]
        self.assertEqual(seen, ids[::-1])
        self.assertIsNone(third["next"])

    def test_a_page_holds_at_most_200_songs(self) -> None:
        Song.objects.bulk_create(
            Song(title="T", artist="A", language="tamil", duration_seconds=1, audio_url="https://a.example/a")
            for _ in range(201)
        )

        answer = self.client.get("/api/songs/", {"page_size": 5000}).json()

        self.assertEqual(len(answer["results"]), 200)

    def test_a_forged_cursor_is_not_found(self) -> None:
        # base64 of "p=robert"
        response = self.client.get("/api/songs/", {"cursor": "cD1yb2JlcnQ="})

        self.assertEqual(response.status_code, 404)
        self.assertEqual(response.json(), {"detail": "Invalid cursor"})

    def test_a_page_takes_one_query_however_many_songs_it_has(self) -> None:
        for number in range(20):
            make_song(f"Song {number}")

        with self.assertNumQueries(1):
            self.client.get("/api/songs/")

    def test_songs_cannot_be_written(self) -> None:
        response = self.client.post("/api/songs/", {"title": "Mine"})

        self.assertEqual(response.status_code, 405)
        self.assertEqual(response.json(), {"detail": 'Method "POST" not allowed.'})


class AuthenticationTests(ApiTestCase):
    def test_a_stranger_is_asked_for_a_token(self) -> None:
        self.client.force_authenticate(None)

        for path in ("/api/songs/", "/api/playlists/", "/api/me/preferences/", "/api/events/"):
            response = self.client.get(path)

            self.assertEqual(response.status_code, 401, path)
            self.assertEqual(response["WWW-Authenticate"], "Token")
            self.assertEqual(response.json(), {"detail": "Authentication credentials were not provided."})

    def test_a_password_buys_a_token_that_opens_the_api(self) -> None:
        self.client.force_authenticate(None)
        self.asha.set_password("correct horse")
        self.asha.save()

        token = self.client.post("/api/token/", {"username": "asha", "password": "correct horse"}).json()["token"]
        self.client.credentials(HTTP_AUTHORIZATION=f"Token {token}")

        self.assertEqual(self.client.get("/api/songs/").status_code, 200)

    def test_a_session_opens_the_api_too(self) -> None:
        self.client.force_authenticate(None)
        self.client.force_login(self.asha)

        self.assertEqual(self.client.get("/api/songs/").status_code, 200)

    def test_an_id_beyond_the_columns_range_is_not_found(self) -> None:
        self.assertEqual(self.client.get(f"/api/songs/{'9' * 18}/").status_code, 404)
        self.assertEqual(self.client.get(f"/api/songs/{'9' * 30}/").status_code, 404)

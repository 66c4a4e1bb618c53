"""Taking in analytics events in batches."""

import json
from typing import Any

from rest_framework.response import Response

from music.models import AnalyticsEvent

from .cases import ApiTestCase, make_song

PLAY = {"event_type": "play", "session_id": "s-1"}


class EventBatchTests(ApiTestCase):
    def send(self, events: Any) -> Response:
        # ASCII, so that a lone surrogate travels as an escape, as clients send it.
        body = json.dumps({"events": events})
        return self.client.post("/api/events/", body, content_type="application/json")

    def assert_refused(self, events: Any, errors: Any) -> None:
        response = self.send(events)

        self.assertEqual((response.status_code, response.json()), (400, {"events": errors}))
        self.assertFalse(AnalyticsEvent.objects.exists())

    def test_a_batch_is_stored_for_the_caller(self) -> None:
        song = make_song()

        response = self.send([{**PLAY, "song": song.pk, "properties": {"at": "0:42", "शैली": [1, None]}}, PLAY])

        self.assertEqual((response.status_code, response.json()), (201, {"stored": 2}))
        self.assertEqual(
            list(AnalyticsEvent.objects.order_by("id").values_list("user", "event_type", "song", "properties")),
            [
                (self.asha.pk, "play", song.pk, {"at": "0:42", "शैली": [1, None]}),
                (self.asha.pk, "play", None, {}),
            ],
        )

    def test_a_batch_takes_as_many_queries_as_a_single_event(self) -> None:
        song = make_song()

        with self.assertNumQueries(2):
            self.send([{**PLAY, "song": song.pk}] * 100)

    def test_errors_name_the_event_by_its_index_and_nothing_is_stored(self) -> None:
        self.assert_refused(
            [PLAY, {"session_id": "s-1"}, PLAY, {"event_type": "x" * 51, "session_id": "s-1"}, "play"],
            {
                "1": {"event_type": ["This field is required."]},
                "3": {"event_type": ["Ensure this field has no more than 50 characters."]},
                "4": {"non_field_errors": ["Invalid data. Expected a dictionary, but got str."]},
            },
        )

    def test_unknown_songs_are_named_by_index(self) -> None:
        self.assert_refused([PLAY, {**PLAY, "song": 10**17}], {"1": {"song": [f"Song {10**17} does not exist."]}})

    def test_a_batch_is_neither_empty_nor_larger_than_500(self) -> None:
        self.assert_refused([], ["This list may not be empty."])
        self.assert_refused([PLAY] * 501, ["Send at most 500 items at once, not 501."])
        self.assert_refused("play", ['Expected a list of items but got type "str".'])

    def test_properties_that_a_database_cannot_store_are_refused(self) -> None:
        not_storable = "This object holds a number or a character that JSON columns cannot store."
        for properties in ({"a": "\x00"}, {"\x00": 1}, {"a": "\ud800"}, {"a": ["\\\x00"]}):
            self.assert_refused([{**PLAY, "properties": properties}], {"0": {"properties": [not_storable]}})
        self.assert_refused(
            [{**PLAY, "properties": {"a": "x" * 9000}}],
            {"0": {"properties": ["This object takes 9009 bytes; at most 8192 are stored."]}},
        )

    def test_a_number_beyond_the_range_of_floats_is_refused(self) -> None:
        body = '{"events": [{"event_type": "play", "session_id": "s-1", "properties": {"a": 1e999}}]}'

        response = self.client.post("/api/events/", body, content_type="application/json")

        self.assertEqual(response.status_code, 400)

    def test_text_that_looks_like_an_escape_is_stored_as_it_is(self) -> None:
        self.send([{**PLAY, "properties": {"path": "C:\\u0000"}}])

        self.assertEqual(AnalyticsEvent.objects.get().properties, {"path": "C:\\u0000"})

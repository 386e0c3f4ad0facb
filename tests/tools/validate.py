"""Asks the receivers' own libraries whether they accept what we send; exits 1 with the complaint when not.

usage: validate.py slack < PAYLOAD            (slack_sdk: every block of every attachment)
       validate.py webhook SECRET < REQUEST   (standardwebhooks: REQUEST is {"headers": {…}, "body": "…"})
       validate.py pagerduty < EVENT          (pagerduty: its client, asked for the same, sends the same)
       validate.py teams < PAYLOAD            (microsoft-teams-cards: every element is known, with these keys and words)
"""

import inspect
import json
import sys


def slack(payload):
    from slack_sdk.models.attachments import BlockAttachment
    from slack_sdk.models.blocks import Block

    assert payload["text"], "no top-level text"
    count = 0
    for attachment in payload["attachments"]:
        blocks = Block.parse_all(attachment["blocks"])
        assert len(blocks) == len(attachment["blocks"]) <= 50, "a block is unknown"
        for block in blocks:
            block.validate_json()
            count += 1
        BlockAttachment(blocks=blocks, color=attachment["color"], fallback=attachment["fallback"]).validate_json()
    print(f"{count} blocks are fine")


def webhook(request):
    from standardwebhooks import Webhook

    Webhook(sys.argv[2]).verify(request["body"], request["headers"])
    print("the signature is fine")


def pagerduty(event):
    from pagerduty import EventsApiV2Client

    # What the reference of the Events API v2 says; the client leaves it to its caller.
    assert len(event["dedup_key"]) <= 255 and len(json.dumps(event).encode()) <= 512_000
    sent = []

    class Client(EventsApiV2Client):
        def post(self, url, json):
            sent.append((url, json))
            raise InterruptedError

    client = Client(event["routing_key"])
    action, key = event["event_action"], event["dedup_key"]
    try:
        if action == "trigger":
            payload = event["payload"]
            assert len(payload["summary"]) <= 1024
            assert payload["severity"] in ("critical", "error", "warning", "info")
            assert set(payload) <= {"summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"}
            assert all(set(link) <= {"href", "text"} for link in event.get("links", []))
            rest = {name: payload[name] for name in ("timestamp", "component", "group", "class") if name in payload}
            details, links = payload.get("custom_details"), event.get("links")
            client.trigger(payload["summary"], payload["source"], key, payload["severity"], rest, details, links=links)
        else:
            {"acknowledge": client.acknowledge, "resolve": client.resolve}[action](key)
    except InterruptedError:
        pass
    ((url, theirs),) = sent
    assert url == "/v2/enqueue", url
    ours = {name: value for name, value in event.items() if name not in ("routing_key", "client", "client_url")}
    assert ours == theirs, f"theirs: {theirs}"
    print("the event is fine")


def teams(payload):
    from microsoft_teams.cards import core

    kinds = {}
    for _, kind in inspect.getmembers(core, inspect.isclass):
        word = getattr(kind, "model_fields", {}).get("type")
        if word is not None and isinstance(word.default, str):
            kinds[word.default] = kind
    count = 0

    def check(value, place):
        nonlocal count
        if isinstance(value, list):
            for number, item in enumerate(value):
                check(item, f"{place}[{number}]")
        elif isinstance(value, dict):
            if "type" in value:
                kind = kinds[value["type"]]
                known = {core.SerializableObject.validation_alias_generator(field) for field in kind.model_fields}
                # The library itself takes any key.
                unknown = set(value) - known - {"$schema"}
                assert not unknown, f"{place}: {kind.__name__} has no {unknown}"
                kind.model_validate(value)
                count += 1
            for key, item in value.items():
                check(item, f"{place}.{key}")

    assert payload["type"] == "message" and len(payload["attachments"]) == 1
    (attachment,) = payload["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["content"]["type"] == "AdaptiveCard"
    check(attachment["content"], "card")
    print(f"{count} elements are fine")


{"slack": slack, "webhook": webhook, "pagerduty": pagerduty, "teams": teams}[sys.argv[1]](json.load(sys.stdin))

"""Asks the receivers' own libraries whether they accept what we send; exits 1 with the complaint when not.

usage: validate.py slack < PAYLOAD            (slack_sdk: every block of every attachment)
       validate.py webhook SECRET < REQUEST   (standardwebhooks: REQUEST is {"headers": {…}, "body": "…"})
"""

import json
import sys

if sys.argv[1] == "slack":
    from slack_sdk.models.attachments import BlockAttachment
    from slack_sdk.models.blocks import Block

    payload = json.load(sys.stdin)
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
else:
    from standardwebhooks import Webhook

    request = json.load(sys.stdin)
    Webhook(sys.argv[2]).verify(request["body"], request["headers"])
    print("the signature is fine")

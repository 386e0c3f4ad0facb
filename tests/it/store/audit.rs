//! Promises about who did what, and about how channels fare.

use plimsoll::model::audit::{Deed, DeedKind};
use plimsoll::model::channel::ChannelHealth;

use super::Bed;
use super::samples::at;

pub(super) fn channel_health(channel: &str) -> ChannelHealth {
    ChannelHealth {
        channel: channel.into(),
        failing_since: Some(at(3)),
        broken: true,
        error: "the receiver said \"no\"\n".into(),
        delivered_at: Some(at(2)),
        dropped: 7,
    }
}

pub(super) async fn how_a_channel_fares_is_replaced(bed: Bed) {
    assert_eq!(bed.store.channel_health().await.unwrap(), []);
    for channel in ["slack", "mail"] {
        bed.store.save_channel_health(&channel_health(channel)).await.unwrap();
    }
    let mut better = channel_health("slack");
    better.delivered(at(9));
    bed.store.save_channel_health(&better).await.unwrap();
    assert_eq!(bed.opened_again().await.channel_health().await.unwrap(), [channel_health("mail"), better]);
}

pub(super) fn deed(second: u64, object: &str) -> Deed {
    Deed {
        at: at(second),
        by: "ann (api token ci)".into(),
        what: DeedKind::SilenceAdd,
        object: object.into(),
        detail: "team=\"x\" until later: deploy\nof it".into(),
        refused: None,
    }
}

pub(super) async fn deeds_are_only_added_and_come_newest_first(bed: Bed) {
    let refused = Deed { refused: Some("it is in the past".into()), ..deed(2, "b") };
    for deed in [&deed(1, "a"), &refused, &deed(1, "c")] {
        bed.store.record_deed(deed).await.unwrap();
    }
    // What a spool writes again changes nothing.
    bed.store.record_deed(&Deed { detail: "another".into(), ..deed(1, "a") }).await.unwrap();
    let store = bed.opened_again().await;
    assert_eq!(store.deeds(0).await.unwrap(), [refused.clone(), deed(1, "c"), deed(1, "a")]);
    assert_eq!(store.deeds(1).await.unwrap(), [refused]);
    for what in DeedKind::ALL {
        store.record_deed(&Deed { what: *what, ..deed(3, "d") }).await.unwrap();
    }
    assert_eq!(store.deeds(100).await.unwrap().len(), 3 + DeedKind::ALL.len());
}

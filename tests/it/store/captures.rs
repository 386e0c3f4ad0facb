//! Promises about captures.

use plimsoll::model::capture::Captured;
use plimsoll::model::run::RunId;

use super::Bed;
use super::samples::{at, run};

pub(super) fn captured(number: u32, error: Option<&str>) -> Captured {
    Captured {
        number,
        name: format!("cpu-{number}"),
        kind: "pprof".into(),
        what: "cpu profile of http://shop:6060 over 10s".into(),
        why: "at 15m".into(),
        second: 900,
        at: at(900),
        took_ms: 10_012,
        content_type: "application/octet-stream".into(),
        file: "01-cpu.pb.gz".into(),
        bytes: 0,
        error: error.map(Into::into),
    }
}

pub(super) async fn what_was_captured_is_read_back_as_it_came(bed: Bed) {
    let run = run("a", at(0));
    let unknown = bed.store.save_capture(&run.id, &captured(1, None), None).await.unwrap_err();
    assert_eq!(unknown.to_string(), "the database refused: run a is not stored");
    bed.store.start_run(&run).await.unwrap();
    let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at * 7 % 256) as u8).collect();
    bed.store.save_capture(&run.id, &captured(2, None), Some(&bytes)).await.unwrap();
    bed.store.save_capture(&run.id, &captured(1, Some("the answer is 404")), None).await.unwrap();
    assert_eq!(bed.store.captures(&run.id).await.unwrap(), [captured(1, Some("the answer is 404")), captured(2, None)]);
    assert_eq!(bed.store.capture(&run.id, 2).await.unwrap(), Some((captured(2, None), bytes)));
    assert_eq!(bed.store.capture(&run.id, 1).await.unwrap(), Some((captured(1, Some("the answer is 404")), Vec::new())));
    assert_eq!(bed.store.capture(&run.id, 3).await.unwrap(), None);
    assert_eq!(bed.store.captures(&RunId("other".into())).await.unwrap(), []);
    // The same number again replaces it.
    bed.store.save_capture(&run.id, &captured(1, None), Some(b"late")).await.unwrap();
    assert_eq!(bed.store.capture(&run.id, 1).await.unwrap(), Some((captured(1, None), b"late".to_vec())));
}

pub(super) async fn a_capture_goes_with_its_run(bed: Bed) {
    let run = run("a", at(0));
    bed.store.start_run(&run).await.unwrap();
    bed.store.save_capture(&run.id, &captured(1, None), Some(b"content")).await.unwrap();
    bed.sql("DELETE FROM runs").await;
    bed.holds("SELECT count(*) FROM captures", 0).await;
}

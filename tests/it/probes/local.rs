//! The probes of this machine: processes with their children, groups of processes, programs; and pages of JSON.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use plimsoll::model::series::Point;
use plimsoll::probe::{ProbeError, describe_points};
use serde_json::{Value as Json, json};
use tokio::time::sleep;

use super::{PageServer, figures, is, open};
use crate::servers::{Child, PATIENCE, temp_dir, wait_until};

#[tokio::test]
async fn children_are_added_up_unless_one_is_asked_for_alone() {
    let folder = temp_dir();
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 600 & sleep 600 & wait"]);
    let parent = Child::spawn("parent", folder.path(), &mut command);
    let threads = async |keys: Json| figures(&open(&keys).read().await.unwrap())["process_threads"];
    let pid = parent.id();
    wait_until("two children", PATIENCE, async || {
        ((threads(json!({"type": "process", "pid": pid})).await - 3.0).abs() < 1e-9).then_some(())
    })
    .await;
    let alone = threads(json!({"type": "process", "pid": pid, "children": false})).await;
    assert!((alone - 1.0).abs() < 1e-9, "{alone}");
    // The children are ours as well: their ids are known from the parent.
    let children: Vec<i32> = procfs::process::all_processes()
        .unwrap()
        .filter_map(|process| process.ok()?.stat().ok())
        .filter(|stat| stat.ppid == pid as i32)
        .map(|stat| stat.pid)
        .collect();
    for child in children {
        Command::new("kill").arg(child.to_string()).status().unwrap();
    }
}

#[tokio::test]
async fn cpu_of_a_child_that_began_between_two_readings_counts() {
    let folder = temp_dir();
    let go = folder.path().join("go");
    let script = format!("while [ ! -e '{}' ]; do sleep 0.05; done; timeout 60 sh -c 'while :; do :; done'", go.display());
    let parent = Child::spawn("parent", folder.path(), Command::new("sh").args(["-c", &script]));
    let mut probe = open(&json!({"type": "process", "pid": parent.id()}));
    probe.read().await.unwrap();
    std::fs::write(&go, "").unwrap();
    let used = wait_until("a child that works", PATIENCE, async || {
        sleep(Duration::from_millis(300)).await;
        figures(&probe.read().await.unwrap()).get("process_cpu").copied().filter(|used| *used > 0.05)
    })
    .await;
    assert!(used < 4.0, "{used}");
    let group: Vec<i32> = procfs::process::all_processes()
        .unwrap()
        .filter_map(|process| process.ok()?.stat().ok())
        .filter(|stat| stat.ppid == parent.id() as i32)
        .map(|stat| stat.pid)
        .collect();
    for child in group {
        Command::new("kill").arg(child.to_string()).status().unwrap();
    }
}

#[tokio::test]
async fn a_unit_that_does_not_run_is_missing() {
    for keys in [json!({"type": "process", "unit": "plimsoll-no-such-unit"}), json!({"type": "cgroup", "unit": "plimsoll-no-such-unit"})] {
        let error = open(&keys).read().await.unwrap_err();
        assert!(error.reason == "missing" && error.detail.contains("plimsoll-no-such-unit.service"), "{keys}: {error}");
    }
}

/// The folder of the group that this test runs in.
fn own_group() -> PathBuf {
    let me = procfs::process::Process::myself().unwrap();
    let mount = me.mountinfo().unwrap().into_iter().find(|mount| mount.fs_type == "cgroup2").expect("cgroups of version 2 are mounted");
    let group = me.cgroups().unwrap().into_iter().find(|group| group.hierarchy == 0).unwrap();
    mount.mount_point.join(group.pathname.trim_start_matches('/'))
}

#[tokio::test]
async fn our_own_group_is_read_by_path_and_by_process() {
    let path = own_group().display().to_string();
    for keys in [json!({"type": "cgroup", "path": path}), json!({"type": "cgroup", "pid": std::process::id()})] {
        let mut probe = open(&keys);
        let first = probe.read().await.unwrap();
        assert!(!figures(&first).contains_key("cgroup_cpu"), "the first reading has no rates");
        std::hint::black_box((0..20_000_000_u64).map(std::hint::black_box).sum::<u64>());
        let second = probe.read().await.unwrap();
        let numbers = figures(&second);
        assert!(numbers["cgroup_cpu"] >= 0.0 && numbers.contains_key("cgroup_pressure"), "{}", describe_points(&second));
    }
}

/// Files as a container with limits has them; this machine's own group may have none.
#[tokio::test]
async fn a_group_with_limits_and_one_that_has_ended() {
    let root = temp_dir();
    let group = root.path().join("system.slice/shop.service");
    std::fs::create_dir_all(&group).unwrap();
    let write = |usage: u64, throttled: u32| {
        std::fs::write(group.join("cpu.stat"), format!("usage_usec {usage}\nnr_periods {}\nnr_throttled {throttled}\n", throttled * 2))
            .unwrap();
    };
    write(0, 0);
    std::fs::write(group.join("cpu.max"), "200000 100000\n").unwrap();
    std::fs::write(group.join("memory.current"), "900\n").unwrap();
    std::fs::write(group.join("memory.max"), "1000\n").unwrap();
    let keys = json!({"type": "cgroup", "unit": "shop", "root": root.path()});
    let mut probe = open(&keys);
    is(&figures(&probe.read().await.unwrap()), "cgroup_memory_ratio", 0.9);
    write(1_000_000_000, 4);
    let second = figures(&probe.read().await.unwrap());
    is(&second, "cgroup_throttled", 0.5);
    assert!(second["cgroup_cpu_utilization"] > 1.0, "a thousand seconds of CPU in a moment: {second:?}");
    std::fs::remove_dir_all(&group).unwrap();
    assert_eq!(probe.read().await.unwrap_err().reason, "missing");
}

#[tokio::test]
async fn numbers_of_a_page_of_json() {
    let page = PageServer::start(r#"{"pool": {"active": 7, "max": 20}, "jobs": [{"open": 3}]}"#).await;
    let mut probe = open(&json!({"type": "http_json", "url": page.url, "values": {"active": "$.pool.active", "jobs": "$.jobs[0].open"}}));
    insta::assert_snapshot!(describe_points(&probe.read().await.unwrap()), @r#"
    custom{name="active"}  7
    custom{name="jobs"}    3
    "#);
    for (text, reason) in [("{\"pool\": {}}", "missing"), ("<html>", "parse"), ("", "parse"), ("{\"pool\": {\"active\": \"x\"}}", "parse")]
    {
        *page.page.lock().unwrap() = text.into();
        assert_eq!(probe.read().await.unwrap_err().reason, reason, "{text}");
    }
}

async fn run(keys: Json) -> Result<Vec<Point>, ProbeError> {
    let mut keys = keys;
    keys["type"] = "command".into();
    open(&keys).read().await
}

#[tokio::test]
async fn a_program_tells_numbers() {
    assert_eq!(run(json!({"command": ["echo", "42"]})).await.unwrap(), [Point::new("custom", 42.0).with("name", "value")]);
    let two = run(json!({"command": ["printf", "# open jobs\nopen 3\nlate 4.5\n"]})).await.unwrap();
    assert_eq!(two, [Point::new("custom", 3.0).with("name", "open"), Point::new("custom", 4.5).with("name", "late")]);
    let json = run(json!({"command": ["echo", "{\"queue\": {\"length\": 9}}"], "values": {"length": "$.queue.length"}})).await.unwrap();
    assert_eq!(json, [Point::new("custom", 9.0).with("name", "length")]);
    // The environment of the daemon is not that of the program.
    assert_eq!(run(json!({"command": ["sh", "-c", "env | grep -c CARGO || true"]})).await.unwrap()[0].value.to_bits(), 0.0_f64.to_bits());
    // Much on standard error does not stop it.
    let noisy = run(json!({"command": ["sh", "-c", "head -c 300000 /dev/zero >&2; echo 5"]})).await.unwrap();
    assert_eq!(noisy.len(), 1);
}

#[tokio::test]
async fn a_program_that_does_not_do_as_it_should_has_a_reason() {
    for (keys, reason, detail) in [
        (json!({"command": ["plimsoll-no-such-program"]}), "missing", "cannot be run"),
        (json!({"command": ["/etc/passwd"]}), "permission", "cannot be run"),
        (json!({"command": ["sh", "-c", "echo broken >&2; exit 3"]}), "status", "exit status: 3: broken"),
        (json!({"command": ["echo", "forty-two"]}), "parse", "is not `name number`"),
        (json!({"command": ["true"]}), "parse", "no number"),
        (json!({"command": ["cat", "/dev/zero"], "max_output": "1kB"}), "parse", "more than"),
        (json!({"command": ["yes", "a 1"], "max_output": "10kB"}), "parse", "more than"),
        (json!({"command": ["sleep", "600"], "timeout": "200ms"}), "timeout", "was killed"),
        (json!({"command": ["echo", "{}"], "values": {"a": "$.a"}}), "missing", "leads to nothing"),
    ] {
        let error = run(keys.clone()).await.unwrap_err();
        assert!(error.reason == reason && error.detail.contains(detail), "{keys}: {error}");
    }
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_killed_with_all_that_it_started() {
    let folder = temp_dir();
    let file = folder.path().join("pids");
    let script = format!("sleep 600 & echo $! > '{0}'; echo $$ >> '{0}'; wait", file.display());
    let error = run(json!({"command": ["sh", "-c", script], "timeout": "2s"})).await.unwrap_err();
    assert_eq!(error.reason, "timeout");
    let pids: Vec<i32> = std::fs::read_to_string(&file).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    wait_until("both to be gone", PATIENCE, async || {
        let alive = |pid: &i32| {
            let stat = procfs::process::Process::new(*pid).and_then(|process| process.stat());
            stat.is_ok_and(|stat| stat.state != 'Z')
        };
        (!pids.iter().any(alive)).then_some(())
    })
    .await;
}

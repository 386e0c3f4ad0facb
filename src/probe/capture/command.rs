//! What a program writes: its output and its errors. It is ended with its time; it gets no input and no environment but the path.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::super::command::bare;
use super::{Taken, too_large};

/// Runs the program; `Err` when it cannot be run, fails, or writes too much.
pub(super) async fn output(words: &[String], limit: u64) -> Result<Taken, String> {
    let Some((program, arguments)) = words.split_first() else { return Err("no program is named".into()) };
    let mut child = bare(program, arguments).kill_on_drop(true).spawn().map_err(|error| format!("{program} cannot be run: {error}"))?;
    let (out, errors) = (child.stdout.take(), child.stderr.take());
    let (out, errors) = tokio::join!(read(out, limit), read(errors, 4_096));
    let out = out?;
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if !status.success() {
        let said = String::from_utf8_lossy(&errors.unwrap_or_default()).split_whitespace().collect::<Vec<_>>().join(" ");
        let said: String = said.chars().take(200).collect();
        return Err(format!("it ended with {status}{}{said}", if said.is_empty() { "" } else { ": " }));
    }
    Ok(Taken { content_type: "text/plain; charset=utf-8".into(), extension: "txt", data: out })
}

async fn read(from: Option<impl AsyncRead + Unpin>, limit: u64) -> Result<Vec<u8>, String> {
    let mut data = Vec::new();
    if let Some(from) = from {
        from.take(limit + 1).read_to_end(&mut data).await.map_err(|error| error.to_string())?;
    }
    if data.len() as u64 > limit { Err(too_large(limit)) } else { Ok(data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_gets_no_secret_of_ours() {
        // Cargo gives tests an environment of many names; only what is put there on purpose may be left.
        assert!(std::env::vars_os().count() > 2);
        let taken = output(&["/usr/bin/env".into()], 10_000).await.unwrap();
        let mut names: Vec<_> = std::str::from_utf8(&taken.data).unwrap().lines().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, ["LC_ALL", "PATH"]);
    }
}

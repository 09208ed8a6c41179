//! Serial over LAN: ipmitool's input and output as one stream.

use super::tool::Tool;
use crate::bmc::SerialStream;
use crate::error::BmcError;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// What ipmitool prints before the first byte of the console.
const BEGINS: &[u8] = b"SOL Session operational";
/// More of a preface than any version prints.
const PREFACE_BYTES_MAX: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(15);

/// Dropping it ends the child.
struct Console {
    input: ChildStdin,
    output: ChildStdout,
    _child: Child,
}

pub(super) async fn open(tool: &Tool) -> Result<Box<dyn SerialStream>, BmcError> {
    // A client that died leaves its session open, and a BMC has only one.
    if let Err(error) = tool.run(&["sol", "deactivate"]).await
        && !matches!(error, BmcError::Refused { .. })
    {
        return Err(error);
    }
    let mut child = tool.start(&["sol", "activate"]).await?;
    let (Some(input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(failed(tool, "it has no input or output"));
    };
    match tokio::time::timeout(PATIENCE, skip_preface(&mut output)).await {
        Ok(true) => {}
        Ok(false) => return Err(failed(tool, &last_words(child).await)),
        Err(_) => return Err(failed(tool, "it does not begin")),
    }
    drain_errors(&mut child);
    Ok(Box::new(Console {
        input,
        output,
        _child: child,
    }))
}

/// Reads to the end of the line that says that the console begins; false if none comes.
async fn skip_preface(output: &mut ChildStdout) -> bool {
    let mut said = Vec::new();
    while said.len() < PREFACE_BYTES_MAX {
        match output.read_u8().await {
            Ok(byte) => said.push(byte),
            Err(_) => return false,
        }
        if said.ends_with(b"\n") && said.windows(BEGINS.len()).any(|part| part == BEGINS) {
            return true;
        }
    }
    false
}

async fn last_words(mut child: Child) -> String {
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let reading = stderr.read_to_string(&mut said);
        let _ = tokio::time::timeout(Duration::from_secs(1), reading).await;
    }
    let line = said.lines().rfind(|line| !line.trim().is_empty());
    line.unwrap_or("it ended at once").trim().to_owned()
}

/// A child whose errors nobody reads would stop when the pipe is full.
fn drain_errors(child: &mut Child) {
    if let Some(mut stderr) = child.stderr.take() {
        tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
    }
}

fn failed(tool: &Tool, why: &str) -> BmcError {
    BmcError::Failed {
        bmc: tool.name().to_owned(),
        request: "sol activate".to_owned(),
        status: None,
        message: why.to_owned(),
    }
}

impl AsyncRead for Console {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Console {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(cx)
    }
}

//! The embedded upstream's web server: a fixed table of responses on a loopback port.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Json(String),
    /// Read on each request, because artifacts are large.
    File(PathBuf),
}

/// A server that ends when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    // Dropping the set aborts its tasks.
    _tasks: JoinSet<()>,
}

impl Server {
    /// Binds a free loopback port. [`Server::serve`] gets the responses later, because they contain the address.
    pub(crate) async fn bind() -> anyhow::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot bind a loopback port")?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }

    /// Answers GET by path and query; every other path is 404, as at upstream.
    pub(crate) fn serve(listener: TcpListener, answers: BTreeMap<String, Answer>) -> Self {
        let answers = Arc::new(answers);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let answers = Arc::clone(&answers);
                connections.spawn(async move {
                    let service = service_fn(|request| answer(Arc::clone(&answers), request));
                    // A client may hang up early.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { _tasks: tasks }
    }
}

async fn answer(
    answers: Arc<BTreeMap<String, Answer>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let respond = |status: StatusCode, kind: &'static str, body: Bytes| {
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    };
    let found = answers.get(request.uri().path());
    Ok(match found {
        Some(Answer::Json(text)) => respond(StatusCode::OK, "application/json", Bytes::from(text.clone())),
        Some(Answer::File(path)) => match tokio::fs::read(path).await {
            Ok(bytes) => respond(StatusCode::OK, "application/octet-stream", bytes.into()),
            Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string().into()),
        },
        None => respond(StatusCode::NOT_FOUND, "application/json", Bytes::from_static(b"{\"message\":\"Not Found\"}")),
    })
}

//! Posts what happened to an address.
//!
//! The address was written down by whoever wrote the pipeline, and nothing else is asked: no
//! redirect is followed, no proxy of the environment is used, the answer is read up to a bound, and
//! all of it ends in time. A secret in a header reaches the server that was named, and no other.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url, redirect};

use super::payload::Payload;
use super::{Done, MAX_ANSWER};

/// Of an answer that is an error so many characters are shown in the warning.
const SHOWN: usize = 200;

/// Posts the payload.
pub async fn post(
    url: &str,
    headers: &[(String, String)],
    payload: &Payload,
    timeout: Duration,
) -> Done {
    // The limit of the client counts each part; this one counts all.
    match tokio::time::timeout(timeout, send(url, headers, payload, timeout)).await {
        Ok(done) => done,
        Err(_) => Done::failed(format!("no answer within {timeout:?}")),
    }
}

async fn send(
    url: &str,
    headers: &[(String, String)],
    payload: &Payload,
    timeout: Duration,
) -> Done {
    let url = match Url::parse(url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url,
        Ok(url) => return Done::failed(format!("`{}` is not http or https", url.scheme())),
        Err(error) => return Done::failed(format!("its address is none: {error}")),
    };
    let headers = match header_map(headers) {
        Ok(headers) => headers,
        Err(why) => return Done::failed(why),
    };
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .timeout(timeout)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("wick/", env!("CARGO_PKG_VERSION")))
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return Done::failed(chain(&error)),
    };
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .headers(headers)
        .body(payload.json.clone());
    match request.send().await {
        Ok(response) => judge(response, timeout).await,
        Err(error) if error.is_timeout() => Done::failed(format!("no answer within {timeout:?}")),
        // The address may hold what is not for logs.
        Err(error) => Done::failed(chain(&error.without_url())),
    }
}

/// What an answer says.
async fn judge(mut response: Response, timeout: Duration) -> Done {
    let status = response.status();
    let redirect =
        response.headers().get("location").and_then(|place| place.to_str().ok()).map(address);
    let mut body = Vec::new();
    let mut trouble = None;
    while body.len() < MAX_ANSWER {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => {
                trouble = Some(if error.is_timeout() {
                    format!("its answer took longer than {timeout:?}")
                } else {
                    chain(&error.without_url())
                });
                break;
            }
        }
    }
    body.truncate(MAX_ANSWER);
    let answer = String::from_utf8_lossy(&body).into_owned();
    let result = if status.is_redirection() {
        let place = redirect.unwrap_or_else(|| "elsewhere".to_owned());
        Err(format!("answered {status} to {place}: redirects are not followed"))
    } else if !status.is_success() {
        let shown: String = answer.trim().chars().take(SHOWN).collect();
        let shown = shown.replace('\n', " ");
        Err(if shown.is_empty() {
            format!("answered {status}")
        } else {
            format!("answered {status}: {shown}")
        })
    } else {
        // That it was taken is sure; what it said besides is not needed.
        Ok(match trouble {
            None => status.to_string(),
            Some(trouble) => format!("{status}, but {trouble}"),
        })
    };
    Done { result, answer }
}

/// Headers as they are sent; their values are kept out of debug output.
fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{name}` cannot be the name of a header"))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| format!("the value of the header `{name}` cannot be sent"))?;
        value.set_sensitive(true);
        map.append(key, value);
    }
    Ok(map)
}

/// An address without user, password, query and fragment: any of them may hold a secret.
pub fn address(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "the webhook".to_owned() };
    url.set_query(None);
    url.set_fragment(None);
    // Neither can fail where there is a host; without one there is nothing to hide.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.to_string()
}

/// An error with its causes, each told once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use wick_core::RunId;

    use super::*;

    fn payload() -> Payload {
        Payload {
            run: RunId::from_random(7),
            state: "failed",
            event: "on_failure",
            failed: "train evaluate".to_owned(),
            json: "{\"version\":1}".to_owned(),
        }
    }

    /// A server that answers one connection so; returns its address and what it was sent.
    fn server(
        answer: impl FnOnce(TcpStream) + Send + 'static,
    ) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/hook?key=queried", listener.local_addr().expect("an address"));
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.ends_with(b"{\"version\":1}") {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&buffer[..read]),
                }
            }
            answer(stream);
            String::from_utf8_lossy(&request).into_owned()
        });
        (url, thread)
    }

    fn answered(text: &'static str) -> impl FnOnce(TcpStream) + Send + 'static {
        move |mut stream| drop(stream.write_all(text.as_bytes()))
    }

    fn posted(url: &str, headers: &[(&str, &str)], timeout: Duration) -> Done {
        let headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(post(url, &headers, &payload(), timeout))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_happened_is_posted_as_json() {
        let (url, server) = server(answered("HTTP/1.1 204 No Content\r\n\r\n"));
        let done = posted(&url, &[("Authorization", "Bearer swordfish")], LONG);
        assert_eq!(done.result.as_deref(), Ok("204 No Content"));
        let request = server.join().expect("the server ends");
        assert!(request.starts_with("POST /hook?key=queried HTTP/1.1\r\n"), "{request}");
        for line in ["content-type: application/json", "authorization: Bearer swordfish"] {
            assert!(request.contains(line), "{request}");
        }
        assert!(request.ends_with("\r\n\r\n{\"version\":1}"), "{request}");
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let (other, _listener) = {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.set_nonblocking(true).expect("it can be");
            (listener.local_addr().expect("an address"), listener)
        };
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{other}/x?secret=1\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let (url, server) = server(move |mut stream| drop(stream.write_all(answer.as_bytes())));
        let done = posted(&url, &[("Authorization", "Bearer swordfish")], LONG);
        server.join().expect("the server ends");
        let why = done.result.expect_err("it is a failure");
        assert!(why.contains("307 Temporary Redirect"), "{why}");
        assert!(why.contains("redirects are not followed"), "{why}");
        assert!(!why.contains("secret=1"), "{why}");
        assert!(_listener.accept().is_err(), "nobody went there");
    }

    #[test]
    fn a_server_that_does_not_answer_is_left() {
        // It holds the connection until the client has gone.
        let (url, server) = server(|mut stream| {
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest));
        });
        let done = posted(&url, &[], Duration::from_millis(100));
        assert_eq!(done.result.expect_err("it is a failure"), "no answer within 100ms");
        server.join().expect("the server ends");
    }

    #[test]
    fn an_endless_answer_is_cut() {
        let (url, server) = server(|mut stream| {
            drop(stream.write_all(b"HTTP/1.1 500 Oh\r\n\r\n"));
            // Until nobody reads any more.
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        });
        let done = posted(&url, &[], LONG);
        assert_eq!(done.answer.len(), MAX_ANSWER);
        let why = done.result.expect_err("it is a failure");
        assert!(why.contains("answered 500"), "{why}");
        assert!(why.len() < 300, "{why}");
        server.join().expect("the server ends");
    }

    #[test]
    fn what_cannot_be_posted_is_told_without_what_is_secret() {
        #[track_caller]
        fn check(url: &str, headers: &[(&str, &str)], expect: &str) {
            let why = posted(url, headers, LONG).result.expect_err("it is a failure");
            assert!(why.contains(expect), "{why}");
            assert!(!why.contains("swordfish"), "{why}");
        }
        check("file:///etc/passwd", &[], "`file` is not http or https");
        check("nonsense", &[], "its address is none");
        check("http://me:swordfish@127.0.0.1:1/x?k=swordfish", &[], "onnect");
        let bad = [("X-A", "sword\nfish swordfish")];
        check("http://127.0.0.1:1/", &bad, "the value of the header `X-A` cannot be sent");
        check("http://127.0.0.1:1/", &[("X A", "v")], "`X A` cannot be the name of a header");
        assert_eq!(address("https://me:pw@host/a?b=c#d"), "https://host/a");
    }
}

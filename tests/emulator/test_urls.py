import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.emulator.values import urls
from cloudtask.emulator.values.urls import Url


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://a.example", Url("http", "", "a.example", "", "", "")),
        ("https://a:8443/b/c?d=e#f", Url("https", "", "a", ":8443", "/b/c", "?d=e")),
        ("http://u:p@w@a/", Url("http", "u:p@w@", "a", "", "/", "")),
        ("http://[::1]:8080/x", Url("http", "", "[::1]", ":8080", "/x", "")),
        ("http://a?b=/c:d@e", Url("http", "", "a", "", "", "?b=/c:d@e")),
        ("http://a:/", Url("http", "", "a", ":", "/", "")),
        ("", Url("", "", "", "", "", "")),
    ],
)
def test_a_url_comes_apart(url: str, parts: Url) -> None:
    assert urls.split(url) == parts


@given(st.text())
def test_any_text_comes_apart_and_together_again_but_for_the_fragment(
    text: str,
) -> None:
    url = f"http://{text}"

    assert str(urls.split(url)) == url.partition("#")[0]
    urls.split(text)  # Without a scheme: any text at all.


@pytest.mark.parametrize(
    ("url", "encoded"),
    [
        ("http://a/b%20c?d=%zz&e[]=|", "http://a/b%20c?d=%zz&e[]=|"),
        ("http://a/b c?d=e f", "http://a/b%20c?d=e%20f"),
        ("http://a/größe?ß", "http://a/gr%C3%B6%C3%9Fe?%C3%9F"),
        ("http://a/\r\nX-Y: z", "http://a/%0D%0AX-Y:%20z"),
        # Only what follows the host: names have an encoding of their own.
        ("http://bücher.example/ü", "http://bücher.example/%C3%BC"),
    ],
)
def test_what_cannot_stand_in_a_request_is_escaped(url: str, encoded: str) -> None:
    assert urls.encode(url) == encoded


@given(st.text())
def test_an_encoded_url_stays_as_it_is(text: str) -> None:
    encoded = urls.encode(f"http://a/{text}")

    assert encoded.isascii()
    assert encoded.isprintable()
    assert urls.encode(encoded) == encoded

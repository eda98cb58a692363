from frostline.notebook import facts_html, table_html

EVIL = '<script>alert("1")</script>&'
SAFE = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;"


def test_everything_is_escaped() -> None:
    for text in (table_html(EVIL, (EVIL,), [(EVIL,)]), facts_html(EVIL, [(EVIL, EVIL)])):
        assert text.count(SAFE) == 3
        assert "<script" not in text


def test_a_table_by_hand() -> None:
    text = table_html("c", ("a", "b"), [("1", "2")])
    assert text == (
        '<table><caption>c</caption><thead><tr><th scope="col">a</th><th scope="col">b</th></tr>'
        "</thead>\n<tbody>\n<tr><td>1</td><td>2</td></tr>\n</tbody></table>"
    )
    assert '<th scope="row">n</th><td>3</td>' in facts_html("c", [("n", 3)])

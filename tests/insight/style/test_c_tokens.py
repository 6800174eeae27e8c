"""Lines of C, whole and broken; braces and comments, with planted faults."""

import pytest

from unroll.insight.style.c_tokens import braces, comments, lines

CODE = """#include <linux/kernel.h>
#include "own.h"
#define MAX(a, b) ((a) > (b) ? (a) : (b)) \\
\t/* continued */
/* A comment, don't mind the { or the "quote
 * over two lines.
 */
static int f(struct s *p, char c)
{
\tunsigned long n = 0xFFUL + 10u + 1.5e-3f + .5 + 077;
\tchar *text = "a } in \\" a string /* no comment */";
\tif (c == '{' || c == '\\'') { // } a comment
\t\tp->next->n <<= n++ % 3;
\t}
\treturn !p ? -1 : ~n & ((c >= L'a') ^ 1);
}
"""


def test_code_is_taken_whole() -> None:
    assert lines(CODE) == 1
    assert braces(CODE) == 1
    assert comments(CODE) == 1


@pytest.mark.parametrize(
    "wrong",
    ["8tl = 1;", "x = 0x;", "x = 1.2.3;", "c = 'ab", 's = "open;', "x @ y;", "a $ b", "`x`", "c = '';", "naïve"],
)
def test_a_line_that_is_no_c(wrong: str) -> None:
    assert lines(f"int a;\nint b;\n\n{wrong}\nint c;\n") == 0.75


def test_a_comment_that_is_not_closed_takes_no_line() -> None:
    assert lines("int a;\nint b;\n/* open\nint c;\n") == 0.5
    assert lines("int a;\nint b;\nclosed */ int c;\nint d;\n") == 0.75
    assert comments("/* a */ /* b */ /* c */ /* d") != 1
    assert comments("/* a */ /* b */") == 1


def test_comments_do_not_nest() -> None:
    once = comments("/* a /* b */ c */ /* d */ /* e */")
    assert once is not None and once < 1
    assert comments("/* a /* b */ /* d */ /* e */") == 1


def test_a_brace_too_few() -> None:
    assert braces(CODE * 2) == 1
    value = braces(CODE + CODE.removesuffix("}\n"))
    assert value is not None and value < 1


def test_no_lines_and_no_marks_are_no_zero() -> None:
    assert lines("int a;\n\n\n") is None
    assert braces("int a[3];") is None and comments("int a;") is None

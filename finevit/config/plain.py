"""The text of a config as data: it is Python, and of anybody's checkpoint; what is more than settings is refused, not run."""

import ast
import math
from typing import Any

LONGEST = 1 << 22
"""Characters of a text that is looked at."""
NUMBERS = {"inf": math.inf, "nan": math.nan}


def parse(text: str) -> dict[str, Any]:
    """The settings of a text as MMEngine's ``Config.pretty_text`` writes it; ``ValueError`` names the line that is more."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ValueError(f"is no text of at most {LONGEST:,} characters")
    try:
        return dict(_setting(statement) for statement in ast.parse(text).body if not _is_docstring(statement))
    except (SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f"is no text of settings ({type(error).__name__}: {error})") from None


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _setting(statement: ast.stmt) -> tuple[str, Any]:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        name = statement.targets[0].id
        if name != "_base_":
            return name, _value(statement.value)
    raise _more(statement)


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.List():
            return [_value(each) for each in node.elts]
        case ast.Tuple():
            return tuple(_value(each) for each in node.elts)
        case ast.Set():
            return {_value(each) for each in node.elts}
        case ast.Dict():
            return {_key(key, node): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand)
        case ast.Name(id=name) if name in NUMBERS:
            return NUMBERS[name]
        case ast.Call(func=ast.Name(id="dict"), args=[] | [ast.Dict()]):
            named = {_name(keyword, node): _value(keyword.value) for keyword in node.keywords}
            return {**(_value(node.args[0]) if node.args else {}), **named}
    raise _more(node)


def _key(key: ast.expr | None, node: ast.expr) -> Any:
    if key is None:
        raise _more(node)
    return _value(key)


def _name(keyword: ast.keyword, node: ast.expr) -> str:
    if keyword.arg is None:
        raise _more(node)
    return keyword.arg


def _number(node: ast.expr) -> Any:
    value = _value(node)
    if not isinstance(value, int | float | complex) or isinstance(value, bool):
        raise _more(node)
    return value


def _more(node: ast.AST) -> ValueError:
    told = ast.unparse(node).splitlines()[0][:80]
    return ValueError(f"holds code in line {getattr(node, 'lineno', '?')}, of which nothing was run: {told}")

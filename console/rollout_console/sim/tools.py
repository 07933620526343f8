"""Tool calls: the tool that a request forces, and arguments that are valid for its schema."""

from typing import Any


def forced_tool(body: dict[str, Any]) -> dict[str, Any]:
    """Return the tool that a request in any format forces (``tool_choice``); empty without one."""
    declared = [tool for entry in body.get("tools") or [] for tool in _declared(entry)]
    choice = body.get("tool_choice")
    config = body.get("toolConfig")
    calling = config.get("functionCallingConfig", {}) if isinstance(config, dict) else {}
    insists = choice in ("required", "any") or calling.get("mode") == "ANY"
    if isinstance(choice, dict):
        function = choice.get("function")
        name = choice.get("name") or (function.get("name") if isinstance(function, dict) else None)
        if name:
            return next((tool for tool in declared if tool.get("name") == name), {"name": name})
        insists = choice.get("type") == "any"
    return declared[0] if insists and declared else {}


def _declared(entry: object) -> list[dict[str, Any]]:
    if not isinstance(entry, dict):
        return []
    found = entry.get("functionDeclarations") or [entry.get("function") or entry]
    return [tool for tool in found if isinstance(tool, dict)]


def arguments_for(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a dummy value of the right type for each required property of the tool's schema."""
    schema = tool.get("parameters") or tool.get("input_schema") or {}
    known = schema.get("properties", {}) if isinstance(schema, dict) else {}
    made: dict[str, Any] = {"string": "simulated", "number": 1.5, "integer": 1, "boolean": True}
    return {
        name: made.get(str(known.get(name, {}).get("type", "string")).lower(), "simulated")
        for name in (schema.get("required") or [] if isinstance(schema, dict) else [])
    }


def tool_fields(kind: str) -> dict[str, Any]:
    """Return the fields of a request in format ``kind`` that ask for a tool call."""
    place = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    named = {"name": "weather", "description": "the weather of a city"}
    tool = {**named, "parameters": place}
    if kind == "gemini_generate_content":
        calling = {"functionCallingConfig": {"mode": "ANY"}}
        return {"tools": [{"functionDeclarations": [tool]}], "toolConfig": calling}
    if kind == "anthropic_messages":
        return {"tools": [{**named, "input_schema": place}], "tool_choice": {"type": "any"}}
    nested = {"function": tool} if kind == "openai_chat_completions" else tool
    return {"tools": [{"type": "function", **nested}], "tool_choice": "required"}

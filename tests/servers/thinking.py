"""A reasoning model behind servers that leave its thoughts in the answer, put them beside it, or mix both up."""

from dataclasses import replace

from servers.base import CORRECT, Endpoint, completion, error

WRONG = {"sport": "money", "money": "sport"}


def spoken(form, label):
    """An answer's message in a form in which people have met it; thoughts weigh the other label too."""
    wrong = WRONG[label]
    return {
        # Qwen3 with thinking switched off, vllm-project/vllm#17346
        "empty thoughts": {"content": f"<think>\n\n</think>\n\n{label}"},
        "thoughts": {"content": f"<think>\nIs it {wrong}?\n{wrong}\nNo.\n</think>\n\n{label}"},
        # Templates that open the thoughts in the prompt
        "only their end": {"content": f"Perhaps {wrong}.\n</think>\n{label}"},
        "beside": {"content": label, "reasoning_content": f"{wrong}? No: it is {label}."},
        # vllm-project/vllm#19222: the parser takes the answer for a thought
        "label among the thoughts": {"content": None, "reasoning_content": f"\n\n{label}"},
        "bold, with an end mark": {"content": f"**{label}**<|im_end|>"},
    }[form]


FORMS = (
    "empty thoughts",
    "thoughts",
    "only their end",
    "beside",
    "label among the thoughts",
    "bold, with an end mark",
)


class Thinking(Endpoint):
    """Answers in one of the forms."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def reply(self, call):
        """The label, wrapped."""
        return completion(call, **spoken(self.form, call.label))


class ThinkingTooLong(Endpoint):
    """Is cut off at max_tokens within its thoughts, which name labels; it never closes them."""

    def reply(self, call):
        """Thoughts, and no answer."""
        thoughts = f"<think>\nsport or money? The text says {call.text!r}, so\nsport"
        return completion(call, thoughts, finish_reason="length")


class Reasoning(Endpoint):
    """Thinks for so many tokens before it says the label, and bills them; told more than `max_tokens`, it breaks off.

    `shows` says where the thoughts are: told in the usage alone, beside the content, or open in it. `limits` keeps the
    `max_tokens` of each request, and more than `most` is refused in the words of `refusal`.
    """

    def __init__(self, thoughts=500, shows="usage", *, told=True, most=10**6, refusal=""):
        super().__init__()
        self.thoughts, self.shows, self.told, self.limits = thoughts, shows, told, []
        self.most, self.refusal = most, refusal

    def reply(self, call):
        """The label, or as many of the thoughts as there is room for."""
        most = call.body.get("max_tokens") or call.body["max_completion_tokens"]
        with self.lock:
            self.limits.append(most)
        if most > self.most:
            return error(400, self.refusal.format(most=self.most, asked=most))
        thought = min(self.thoughts, most)
        is_cut = self.thoughts + 2 > most
        answered = thought if is_cut else thought + 2
        words = "sport? money? " * (thought // 4)
        said = "" if is_cut else call.label
        message = {
            "usage": {"content": said},
            "beside": {"content": said, "reasoning_content": words},
            "open": {"content": f"<think>{words}" if is_cut else f"<think>{words}</think>{said}"},
        }[self.shows]
        sent = 20 * len(call.body["messages"])
        details = {"completion_tokens_details": {"reasoning_tokens": thought}} if self.told else {}
        usage = {
            "prompt_tokens": sent,
            "completion_tokens": answered,
            "total_tokens": sent + answered,
            **details,
        }
        made = completion(call, usage=usage, finish_reason="length" if is_cut else "stop", **message)
        return replace(made, billed=(sent, answered))


class Fenced(Endpoint):
    """Answers with JSON in a wrapping of its own, as small models do under a schema."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def reply(self, call):
        """The label as JSON, within something."""
        said = f'{{"label": "{call.label}"}}'
        function = {"name": "answer", "arguments": said}
        return {
            "fence": lambda: completion(call, f"```json\n{said}\n```"),
            "sentence": lambda: completion(call, f"Here is the JSON:\n{said}\nLet me know!"),
            "tool call": lambda: completion(
                call,
                None,
                finish_reason="tool_calls",
                tool_calls=[{"id": "1", "type": "function", "function": function}],
            ),
            "legacy call": lambda: completion(
                call, None, finish_reason="function_call", function_call=function
            ),
            "plain label": lambda: completion(call, CORRECT),
        }[self.form]()


FENCES = ("fence", "sentence", "tool call", "legacy call", "plain label")

"""A fake of Telegram's Bot API on loopback: refuses what Telegram refuses, and lets a test play the people.

Try your own set-up against it, without an account:

```python
async with FakeTelegram() as fake:
    # Give Farwatch (or any other program that speaks the Bot API) `fake.token` and `fake.url`:
    # FARWATCH_TELEGRAM_TOKEN=... FARWATCH_TELEGRAM_URL=http://127.0.0.1:...
    await fake.write("status")                           # a person writes to the bot
    await until(lambda: fake.seen())                     # farwatch.testing.bridges.until
    print(fake.seen()[-1].text, fake.calls[-1].method)   # what people see; what was asked for
```

What it holds to: names and types of parameters, lengths after markup has been read, markup itself, sizes and sides of pictures,
data of buttons, edits of what is no longer there or would change nothing, unknown chats and topics, one poller at a time, offsets,
updates older than a day. With `flood=True` also one message a second in a chat and 20 a minute in a group.
"""

import asyncio
import itertools
import json
import math
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Self

from farwatch.bridges.base import Address
from farwatch.clock import Clock, SystemClock
from farwatch.testing.bridges import Seen
from farwatch.testing.chat import telegram_rules as rules
from farwatch.testing.chat.telegram_markup import units
from farwatch.testing.chat.telegram_posts import Call, Chat, Post, fit, words_of
from farwatch.testing.chat.telegram_rules import File, Refusal, bad
from farwatch.testing.chat.web import Misbehaviour, Reply, Request, serving

ANN = 7001  # the person whose private chat is `FakeTelegram.chat`
DAY_S = 86_400
_DEFAULT_UPDATES = ("message", "edited_message", "channel_post", "edited_channel_post", "callback_query")
_CONFLICT = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
_SAME = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup"
    " of the message"
)


class FakeTelegram(Misbehaviour):
    """One bot, with one person who has started it. Use as an async context manager, on one event loop.

    `flood`: answer 429 as Telegram does to more than one message a second in a chat; `clock`: by which that, and the age of updates, goes.
    """

    def __init__(
        self, *, token: str = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw", username: str = "farwatch_bot", flood: bool = False,
        clock: Clock | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.token = self.secret = token
        self.flood = flood
        self.clock = clock or SystemClock()
        self.url = ""
        self.chat = Address(str(ANN))
        self.requests = 0  # sends, edits and deletes
        self.polls = 0
        self.calls: list[Call] = []
        self.commands: dict[str, list[dict[str, Any]]] = {}  # by language code, empty for all others
        self.answers: dict[str, str | None] = {}  # to presses of buttons, by their id; None while there is none
        self.webhook = ""
        self.me = {"id": int(token.partition(":")[0]), "is_bot": True, "first_name": "Farwatch", "username": username}
        self._chats = {ANN: Chat(ANN, "private", name="Ann")}
        self._posts: dict[tuple[int, int], Post] = {}
        self._updates: list[tuple[int, float, dict[str, Any]]] = []  # id, second of its arrival, update
        self._ids, self._update_ids, self._groups = itertools.count(101), itertools.count(880_000_001), itertools.count(1)
        self._allowed: tuple[str, ...] = _DEFAULT_UPDATES
        self._held: asyncio.Event | None = None  # of the poll that waits; set when another one takes its place
        self._news = asyncio.Condition()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.url = await self._stack.enter_async_context(serving(self._answer))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    # What a test looks at.

    def seen(self, chat: Address | None = None) -> list[Seen]:
        """Messages of the bot as people see them now, oldest first; in one chat, or in all."""
        found = []
        for post in self._posts.values():
            where = str(Address(str(post.chat.id), None if post.topic is None else str(post.topic)))
            if post.ours and chat in (None, Address.parse(where)):
                kind, content = (post.media[0], post.media[1][2]) if post.media else ("", b"")
                visual = kind in ("photo", "animation")
                found.append(
                    Seen(
                        where, str(post.id), post.text, (content,) if visual else (), (content,) if kind and not visual else (),
                        tuple(label for row in post.keyboard for label, _ in row), post.silent, post.edits,
                    )
                )  # fmt: skip
        return found

    def asked(self, method: str) -> list[Call]:
        """All requests of one method, refused ones included."""
        return [one for one in self.calls if one.method == method]

    @property
    def polling(self) -> bool:
        """Whether somebody waits for updates at this moment."""
        return self._held is not None

    # What a test does.

    def group(self, title: str = "Lab", *, kind: str = "supergroup", topics: tuple[int, ...] = ()) -> Address:
        """A group with the bot in it. `kind`: `group`, `supergroup` or `channel`; `topics`: makes it a forum."""
        number = next(self._groups)
        chat = Chat(-number if kind == "group" else -1_001_000_000_000 - number, kind, title, topics=set(topics))
        self._chats[chat.id] = chat
        return Address(str(chat.id))

    def block(self, chat: Address) -> None:
        """The person blocks the bot, or the group throws it out."""
        self._chats[int(chat.chat)].blocked = True

    async def migrate(self, chat: Address, *, tell: bool = False) -> Address:
        """The group becomes a supergroup with another id. `tell`: with the message that says so."""
        old = self._chats[int(chat.chat)]
        new = self.group(old.title)
        old.moved_to = int(new.chat)
        if tell:
            post = self._post(old, self._person(ANN, "Ann", None), ours=False)
            await self._push("message", {**post.shown(), "migrate_to_chat_id": old.moved_to})
        return new

    async def write(
        self, text: str, *, user: int = ANN, name: str = "Ann", username: str | None = None, chat: Address | None = None,
        reply_to: str | None = None, forwarded: bool = False, edited: str | None = None, date: int | None = None, bot: bool = False,
        anonymous: bool = False, via_bot: bool = False, photo: bool = False,
    ) -> str:  # fmt: skip
        """A person writes; returns the message's id. `chat`: where, else privately. `edited`: the message that it replaces.

        `date`: Unix seconds; Telegram forgets it when it is a day old. `anonymous`: as an administrator who hides behind the group.
        `photo`: as the words below a picture.
        """
        where = chat or Address(str(user))
        place = self._chats.setdefault(int(where.chat), Chat(int(where.chat), "private", name=name))
        author = self._person(user, name, username, bot=bot)
        if anonymous:
            author = self._person(1087968824, "Group", "GroupAnonymousBot", bot=True)
        old = self._posts[place.id, int(edited)] if edited else None
        post = old or self._post(place, author, ours=False, topic=int(where.topic) if where.topic else None, date=date)
        post.text, post.entities = text, self._detected(text)
        if photo:
            post.media = ("photo", ("photo.jpg", "image/jpeg", b"\xff\xd8\xff"))
        shown = post.shown()
        if reply_to is not None:
            answered = self._posts[place.id, int(reply_to)]
            shown["reply_to_message"] = answered.shown()
        if forwarded:
            shown["forward_origin"] = {"type": "user", "date": post.date - 60, "sender_user": self._person(7999, "Eve", None)}
        if anonymous:
            shown["sender_chat"] = place.shown()
        if via_bot:
            shown["via_bot"] = self._person(7998, "Inline", "inline_bot", bot=True)
        kind = "channel_post" if place.type == "channel" else "message"
        if kind == "channel_post":
            shown = {**shown, "sender_chat": place.shown()}
            del shown["from"]
        if old:
            kind, shown["edit_date"] = f"edited_{kind}", int(self._now_s())
        await self._push(kind, shown, date)
        return str(post.id)

    async def press(
        self, message_id: str, data: str, *, user: int = ANN, name: str = "Ann", chat: Address | None = None
    ) -> str:
        """A person presses a button of ours, by its data or by what stands on it; returns the id under which `answers` has the answer.

        Raises `ValueError` if there is none.
        """
        place = (chat or self.chat).chat
        post = self._posts.get((int(place), int(message_id)))
        found = [] if post is None else [one for row in post.keyboard for label, one in row if data in (label, one)]
        if post is None or not found:
            raise ValueError(f"message {message_id} has no button with `{data}`")
        data = found[0]
        query = str(9_000_000 + len(self.answers))
        self.answers[query] = None
        sender = self._person(user, name, None)
        await self._push(
            "callback_query", {"id": query, "from": sender, "message": post.shown(), "chat_instance": "1", "data": data}
        )
        return query

    async def push(self, update: dict[str, Any]) -> None:
        """Any update, however strange; `update_id` is given unless it has one."""
        number = update["update_id"] if "update_id" in update else next(self._update_ids)
        async with self._news:
            self._updates.append((number, self._now_s(), {"update_id": number, **update}))
            self._news.notify_all()

    def misbehave(self, what: str, times: int = 1, **facts: Any) -> None:
        """See `farwatch.testing.bridges.Fake`. `method`: only requests of this one; without it, all but polls.

        One more: `refuse` (`description`, `status`), any refusal of Telegram's.
        """
        super().misbehave(what, times, **facts)

    # What happens to a request.

    async def _answer(self, request: Request) -> Reply:
        found = re.fullmatch(r"/bot([^/]+)/(\w+)", request.path)
        if found is None or not re.fullmatch(r"\d+:[\w-]+", found[1]):
            return _refused(Refusal(404, "Not Found"))
        if found[1] != self.token:
            return _refused(Refusal(401, "Unauthorized"))
        method = next((name for name in rules.METHODS if name.lower() == found[2].lower()), None)
        if method is None:
            return _refused(Refusal(404, "Not Found: method not found"))
        self.requests += method.startswith(("send", "edit", "deleteMessage"))
        fields: dict[str, Any] = {}
        files: dict[str, File] = {}
        trouble = self._taken(method)
        try:
            given, files = rules.parameters(request)
            fields = given
            if trouble and (early := await _troubled(*trouble)):
                raise early
            fields = rules.checked(method, given, files)
            result = await self._does(method)(fields, files)
        except Refusal as refusal:
            self.calls.append(Call(method, fields, files, refusal.status, refusal.description))
            return _refused(refusal)
        self.calls.append(Call(method, fields, files, 200))
        if trouble and trouble[0] == "garbage":
            return Reply(200, b"<html>Welcome to our hotel</html>", {"content-type": "text/html"})
        reply = _json(200, {"ok": True, "result": result})
        return Reply(reply.status, reply.body, reply.headers, cut=bool(trouble and trouble[0] == "cut"))

    def _taken(self, method: str) -> tuple[str, dict[str, Any]] | None:
        for index, (what, facts) in enumerate(self._menu):
            if facts.get("method", "" if method == "getUpdates" else method) == method:
                del self._menu[index]
                return what, facts
        return None

    def _does(self, method: str) -> Callable[[dict[str, Any], dict[str, File]], Any]:
        media = method.removeprefix("send").lower()
        if method.startswith("send") and media in ("photo", "animation", "audio", "video", "document"):
            return lambda fields, files: self._send(fields, (media, files[media]))
        return {
            "getMe": self._get_me, "getUpdates": self._get_updates, "setMyCommands": self._set_commands,
            "getMyCommands": self._get_commands, "deleteMyCommands": self._delete_commands, "getWebhookInfo": self._webhook_info,
            "setWebhook": self._set_webhook, "deleteWebhook": self._set_webhook, "getChat": self._get_chat,
            "sendMessage": lambda fields, files: self._send(fields, None), "editMessageText": self._edit_text,
            "editMessageCaption": self._edit_text, "editMessageMedia": self._edit_media, "editMessageReplyMarkup": self._edit_markup,
            "deleteMessage": self._delete, "answerCallbackQuery": self._answer_press,
        }.get(method, self._nothing)  # fmt: skip

    async def _get_me(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        more = {"can_join_groups": True, "can_read_all_group_messages": False, "supports_inline_queries": False}
        return {**self.me, **more}

    async def _nothing(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        self._known(fields)
        return True

    async def _get_chat(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        return {**self._known(fields).shown(), "accent_color_id": 0, "max_reaction_count": 11}

    async def _get_updates(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        self.polls += 1
        if self.webhook:
            raise Refusal(
                409, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
            )
        if self._held is not None:
            self._held.set()
        held = self._held = asyncio.Event()
        if "allowed_updates" in fields:
            self._allowed = tuple(fields["allowed_updates"]) or _DEFAULT_UPDATES
        offset = fields.get("offset", 0)
        if offset > 0:
            self._updates = [one for one in self._updates if one[0] >= offset]
        elif offset < 0:
            self._updates = self._updates[offset:]
        end = asyncio.get_running_loop().time() + min(fields.get("timeout", 0), 50)
        async with self._news:
            self._news.notify_all()  # the one that waited, to go
            while True:
                self._updates = [one for one in self._updates if self._now_s() - one[1] < DAY_S]
                left_s = end - asyncio.get_running_loop().time()
                if held.is_set():
                    raise Refusal(409, _CONFLICT)
                if self._updates or left_s <= 0:
                    self._held = None
                    return [one[2] for one in self._updates[: fields.get("limit", 100)]]
                try:
                    async with asyncio.timeout(left_s):
                        await self._news.wait()
                except TimeoutError:
                    pass

    async def _set_commands(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        rules.commands(fields["commands"])
        if not re.fullmatch(r"([a-z]{2})?", fields.get("language_code", "")):
            raise bad("invalid language code specified")
        self.commands[fields.get("language_code", "")] = fields["commands"]
        return True

    async def _get_commands(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        return self.commands.get(fields.get("language_code", ""), [])

    async def _delete_commands(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        self.commands.pop(fields.get("language_code", ""), None)
        return True

    async def _webhook_info(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        return {"url": self.webhook, "has_custom_certificate": False, "pending_update_count": len(self._updates)}

    async def _set_webhook(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        self.webhook = fields.get("url", "")
        if fields.get("drop_pending_updates"):
            self._updates.clear()
        return True

    async def _answer_press(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        query, text = fields["callback_query_id"], fields.get("text", "")
        if self.answers.get(query, "") is not None:
            raise bad("query is too old and response timeout expired or query ID is invalid")
        if units(text) > rules.ANSWER_MAX:
            raise bad("MESSAGE_TOO_LONG")
        self.answers[query] = text
        return True

    async def _send(self, fields: dict[str, Any], media: tuple[str, File] | None) -> Any:
        chat = self._known(fields)
        topic = fields.get("message_thread_id")
        if topic is not None and topic not in chat.topics:
            raise bad("message thread not found")
        text, entities = words_of(fields, "caption" if media else "text")
        if media:
            fit(media)
        markup = fields.get("reply_markup")
        buttons = rules.keyboard(markup) if markup else []
        answered = fields.get("reply_parameters", {})
        reply_to = answered.get("message_id")
        if reply_to is not None and (chat.id, reply_to) not in self._posts:
            if not answered.get("allow_sending_without_reply"):
                raise bad("message to be replied not found")
            reply_to = None
        self._flooded(chat)
        post = self._post(chat, self.me, topic=topic)
        post.text, post.entities, post.media, post.keyboard, post.markup = text, entities, media, buttons, markup
        post.silent, post.reply_to = fields.get("disable_notification", False), reply_to
        return post.shown()

    async def _edit_text(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        post, name = self._to_edit(fields), "text" if "text" in fields else "caption"
        if (post.media is None) != (name == "text"):
            raise bad(f"there is no {name} in the message to edit")
        return self._edited(post, fields, words_of(fields, name), post.media)

    async def _edit_media(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        post, media = self._to_edit(fields), fields["media"]
        kind, where = media.get("type"), str(media.get("media", ""))
        if kind not in ("photo", "animation", "audio", "video", "document"):
            raise bad("unknown media type")
        file = files.get(where.removeprefix("attach://")) if where.startswith("attach://") else None
        if file is None:
            raise bad("wrong file identifier/HTTP URL specified")
        fit((kind, file))
        return self._edited(post, fields, words_of(media, "caption"), (kind, file))

    async def _edit_markup(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        post = self._to_edit(fields)
        return self._edited(post, fields, (post.text, post.entities), post.media)

    async def _delete(self, fields: dict[str, Any], files: dict[str, File]) -> Any:
        chat = self._known(fields)
        post = self._posts.get((chat.id, fields["message_id"]))
        if post is None:
            raise bad("message to delete not found")
        if self._now_s() - post.date > 2 * DAY_S:
            raise bad("message can't be deleted for everyone")
        del self._posts[chat.id, post.id]
        return True

    def _edited(
        self, post: Post, fields: dict[str, Any], words: tuple[str, list[dict[str, Any]]], media: tuple[str, File] | None
    ) -> Any:
        markup = fields.get("reply_markup")
        buttons = rules.keyboard(markup) if markup else []
        if (words[0], words[1], media, buttons) == (post.text, post.entities, post.media, post.keyboard):
            raise bad(_SAME)
        self._flooded(post.chat)
        post.text, post.entities, post.media, post.keyboard, post.markup = *words, media, buttons, markup
        post.edits += 1
        return {**post.shown(), "edit_date": int(self._now_s())}

    def _to_edit(self, fields: dict[str, Any]) -> Post:
        post = self._posts.get((self._known(fields).id, fields["message_id"]))
        if post is None:
            raise bad("message to edit not found")
        if not post.ours:
            raise bad("message can't be edited")
        return post

    def _known(self, fields: dict[str, Any]) -> Chat:
        """The chat that a request is about; a wrong or deserted one is refused."""
        given = fields["chat_id"]
        chat = self._chats.get(int(given)) if re.fullmatch(r"-?\d{1,18}", given) else None
        if chat is None:
            raise bad("chat not found")
        if chat.moved_to is not None:
            more = {"migrate_to_chat_id": chat.moved_to}
            raise Refusal(400, "Bad Request: group chat was upgraded to a supergroup chat", more)
        if chat.blocked:
            private = chat.type == "private"
            what = "bot was blocked by the user" if private else f"bot was kicked from the {chat.type} chat"
            raise Refusal(403, f"Forbidden: {what}")
        return chat

    def _flooded(self, chat: Chat) -> None:
        if not self.flood:
            return
        now_s = self.clock.mono_us() / 1e6
        free_s = chat.sent_s[-1] + 1.0 if chat.sent_s else now_s
        if chat.type != "private" and len(chat.sent_s) == 20:
            free_s = max(free_s, chat.sent_s[0] + 60.0)
        if now_s < free_s:
            wait_s = math.ceil(free_s - now_s)
            raise Refusal(429, f"Too Many Requests: retry after {wait_s}", {"retry_after": wait_s})
        chat.sent_s.append(now_s)

    def _post(
        self, chat: Chat, author: dict[str, Any], *, ours: bool = True, topic: int | None = None, date: int | None = None
    ) -> Post:
        post = Post(chat, next(self._ids), author, int(self._now_s()) if date is None else date, ours, topic)
        self._posts[chat.id, post.id] = post
        return post

    async def _push(self, kind: str, value: dict[str, Any], date: int | None = None) -> None:
        if kind in self._allowed:
            number = next(self._update_ids)
            async with self._news:
                self._updates.append((number, self._now_s() if date is None else date, {"update_id": number, kind: value}))
                self._news.notify_all()

    def _person(self, user: int, name: str, username: str | None, *, bot: bool = False) -> dict[str, Any]:
        return {"id": user, "is_bot": bot, "first_name": name, **({"username": username} if username else {})}

    def _detected(self, text: str) -> list[dict[str, Any]]:
        """What Telegram marks in the words of people: commands and names."""
        found = []
        for mark in re.finditer(r"(?<!\S)/\w+(?:@\w+)?|(?<!\w)@\w{3,}", text, re.ASCII):
            kind = "bot_command" if mark.group().startswith("/") else "mention"
            found.append({"type": kind, "offset": units(text[: mark.start()]), "length": units(mark.group())})
        return found

    def _now_s(self) -> float:
        return self.clock.wall_us() / 1e6


async def _troubled(what: str, facts: dict[str, Any]) -> Refusal | None:
    """What comes instead of an answer; None for trouble that comes later."""
    if what == "hang":
        await asyncio.sleep(facts.get("seconds", 1.0))
    if what == "busy":
        wait_s = facts.get("retry_after_s", 5)
        return Refusal(429, f"Too Many Requests: retry after {wait_s}", {"retry_after": wait_s})
    known = {
        "error": Refusal(502, "Bad Gateway"), "revoked": Refusal(401, "Unauthorized"),
        "gone": Refusal(403, "Forbidden: bot was blocked by the user"), "conflict": Refusal(409, _CONFLICT),
        "refuse": Refusal(facts.get("status", 400), str(facts.get("description", "Bad Request"))),
    }  # fmt: skip
    return known.get(what)


def _refused(refusal: Refusal) -> Reply:
    body: dict[str, Any] = {"ok": False, "error_code": refusal.status, "description": refusal.description}
    if refusal.parameters:
        body["parameters"] = refusal.parameters
    reply = _json(refusal.status, body)
    wait = (refusal.parameters or {}).get("retry_after")
    return reply if wait is None else Reply(reply.status, reply.body, {**reply.headers, "retry-after": str(wait)})


def _json(status: int, body: dict[str, Any]) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"content-type": "application/json"})

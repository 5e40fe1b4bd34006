"""A person's own WeChat: the scan that gives a session."""

from typing import Any

import pytest

from farwatch.bridges.services.ilink_login import Login
from farwatch.bridges.services.ilink_wire import Wire
from farwatch.errors import BridgeError
from tests.bridges.ilink import phone, run


def test_a_scanned_code_gives_a_session_and_a_restart_asks_for_none() -> None:
    async def test() -> None:
        async with phone() as it:
            state = await it.log_in()

            kept = it.memory.load()
            assert (state.code, state.good) == ("confirmed", True)
            assert (kept["token"], kept["user"], kept["base"]) == (it.fake.secret, it.fake.user, it.fake.url)
            for _ in range(2):
                async with it.connected() as bridge:
                    assert bridge.condition().code == "asleep"  # connected; nobody has written yet
            assert (it.fake.codes, it.fake.presence) == (1, ["start", "stop"] * 2)

    run(test)


def test_states_of_a_code_are_told_one_by_one() -> None:
    async def test() -> None:
        async with phone() as it:
            it.fake.states = ["wait", "scaned", "need_verifycode", "confirmed"]
            login = Login(it.setup)
            await login.begin()
            codes = [(await login.poll()).code for _ in range(3)]
            login.give_digits("1111")
            wrong = await login.poll()
            login.give_digits(" ４８21 ")
            codes += [(await login.poll()).code, (await login.poll()).code]
            await login.close()

            assert codes == ["wait", "scanned", "needs-digits", "scanned", "confirmed"]
            assert (wrong.code, "not the number" in wrong.text) == ("needs-digits", True)

    run(test)


def test_an_expired_code_is_renewed_three_times() -> None:
    async def test() -> None:
        async with phone() as it:
            it.fake.states = ["expired"]
            login = Login(it.setup)
            await login.begin()
            states = [await login.poll() for _ in range(4)]
            await login.close()

            assert [one.link.rpartition("-")[2] for one in states] == ["2", "3", "4", ""]
            assert [one.done for one in states] == [False, False, False, True]
            assert it.memory.load() == {}

    run(test)


def test_a_code_that_nobody_scans_ends_by_the_clock() -> None:
    async def test() -> None:
        async with phone() as it:
            it.fake.states = ["wait"]
            login = Login(it.setup)
            await login.begin()
            it.clock.sleep(301)
            renewed = await login.poll()
            it.clock.sleep(200)
            ended = await login.poll()
            await login.close()

            assert (renewed.code, bool(renewed.link), ended.done, ended.good) == ("expired", True, True, False)

    run(test)


def test_a_redirect_is_followed_within_the_service_only() -> None:
    async def test() -> None:
        async with phone() as it, phone() as other:
            host = other.fake.url.removeprefix("http://")
            it.fake.states = [{"status": "scaned_but_redirect", "redirect_host": host}]
            other.fake.states = ["confirmed"]
            other.fake.codes = 1  # it knows the code
            login = Login(it.setup)
            await login.begin()
            codes = [(await login.poll()).code, (await login.poll()).code]
            await login.close()

            assert codes == ["redirect", "confirmed"]
            assert it.memory.load()["base"] == other.fake.url

            it.fake.states = [{"status": "scaned_but_redirect", "redirect_host": "ilink.evil.example"}]
            again = Login(it.setup)
            await again.begin()
            with pytest.raises(BridgeError, match="foreign host"):
                await again.poll()
            await again.close()

    run(test)


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("https://ilinkai2.weixin.qq.com/", True), ("sh.weixin.qq.com", True), ("https://ilink.example.com", False),
        ("http://ilinkai.weixin.qq.com", False), ("https://u:p@ilinkai.weixin.qq.com", False),
        ("https://weixin.qq.com.evil.example", False),
        ("https://evilweixin.qq.com", False), ("127.0.0.1", False), ("", False),
    ],
)  # fmt: skip
def test_a_token_goes_only_to_the_service(address: str, good: bool) -> None:
    assert (Wire().trusted(address) is not None) is good


def test_blocked_digits_and_an_account_that_is_bound_already_end_the_log_in() -> None:
    async def test() -> None:
        async with phone() as it:
            it.fake.states = ["verify_code_blocked"]
            blocked = await it.log_in()
            it.fake.states = ["binded_redirect"]
            with pytest.raises(BridgeError, match="no session of it is kept"):
                await it.log_in()
            it.memory.save({"token": "old-token", "user": it.fake.user, "quiet_until_ms": 2**60})
            bound = await it.log_in()

            assert (blocked.code, blocked.good) == ("blocked", False)
            assert (bound.code, bound.good) == ("already-bound", True)
            assert (it.memory.load()["token"], it.memory.load().get("quiet_until_ms")) == ("old-token", None)
            assert it.fake.logins[-1] == {"local_token_list": ["old-token"]}

    run(test)


@pytest.mark.parametrize("broken", [{"status": "confirmed"}, {"status": "confirmed", "bot_token": "t", "ilink_user_id": "u", "baseurl": "https://a.example"}])
def test_a_confirmation_that_cannot_be_right_stores_nothing(broken: dict[str, Any]) -> None:
    async def test() -> None:
        async with phone() as it:
            it.fake.states = [broken]
            with pytest.raises(BridgeError):
                await it.log_in()

            assert it.memory.load() == {}

    run(test)


def test_unknown_states_are_waited_through_and_digits_are_digits() -> None:
    async def test() -> None:
        async with phone() as it:
            it.fake.states = ["dancing", {"status": 7}, "confirmed"]
            login = Login(it.setup)
            with pytest.raises(BridgeError, match="begin first"):
                await login.poll()
            await login.begin()
            codes = [(await login.poll()).code for _ in range(3)]
            with pytest.raises(BridgeError, match="no number"):
                login.give_digits("no")
            await login.close()

            assert codes == ["wait", "wait", "confirmed"]

    run(test)

"""The sentences that people are answered with, English and Chinese."""

from typing import Any

PHRASES: dict[str, tuple[str, str]] = {
    "paired": (
        "Hello {name}. You are connected; you may: {scopes}. Write help for what I understand.",
        "你好，{name}。已连接，权限：{scopes}。发“帮助”查看用法。",
    ),
    "too_many": ("More than {n} messages in a minute; the rest is not read.", "一分钟内超过 {n} 条，其余不再处理。"),
    "too_old": (
        "That was written {span} ago and was not done. Send it again if it still holds.",
        "那条消息是{span}前写的，没有执行。如仍需要，请重新发送。",
    ),
    "no_such_run": ("No run is called {run}. Write runs for the list.", "没有叫 {run} 的运行。发“运行”查看列表。"),
    "no_active": ("No run is active.", "没有正在进行的运行。"),
    "which": ("Which one?", "哪一个？"),
    "credits": ("{channel}: {left} more messages until you write again", "{channel}：在你下次发言前还能发 {left} 条"),
    "more_runs": ("… and {n} more: write the name or the id behind the word", "……还有 {n} 个：请在后面写上名称或编号"),
    "which_start": ("Start which? {names}", "启动哪一个？{names}"),
    "no_start": (
        "Nothing can be started from here: no program waits for it, and no machine offers a profile.",
        "没有可以启动的：没有等待启动的程序，也没有机器提供启动配置。",
    ),
    "waiting": ("{run}: {what} · asked, waits for the next step", "{run}：{what} · 已提交，等待下一步"),
    "still_waiting": (
        "{run}: {what} · still waiting; last heard of {span} ago",
        "{run}：{what} · 仍在等待；{span}前有消息",
    ),
    "done": ("✓ {run}: {what}", "✓ {run}：{what}"),
    "started": ("✓ {run} starts: {values}", "✓ {run} 开始：{values}"),
    "not_done": ("✕ {run}: {what} {state}: {why}", "✕ {run}：{what} {state}：{why}"),
    "state_refused": ("was refused", "被拒绝"),
    "state_expired": ("was not done in time", "未能及时执行"),
    "state_superseded": ("was replaced", "被替代"),
    "state_interrupted": ("is uncertain", "结果未知"),
    "op_stop": ("stop", "停止"),
    "op_pause": ("pause", "暂停"),
    "op_unpause": ("unpause", "继续"),
    "op_checkpoint": ("checkpoint", "保存检查点"),
    "op_kill": ("kill", "强杀"),
    "op_set": ("set", "设置"),
    "op_call": ("call", "调用"),
    "op_start": ("start", "启动"),
    "op_restart": ("start again", "重新启动"),
    "yes": ("Yes", "是"),
    "no": ("No", "否"),
    "confirm": ("To do it, write within 90 s: ok {number}", "若要执行，请在 90 秒内发：确认 {number}"),
    "confirm_press": ("Sure? (or write: ok {number})", "确定吗？（或发：确认 {number}）"),
    "cancelled": ("Not done.", "已取消。"),
    "nothing_open": ("Nothing waits for an answer, or it is too late: ask again.", "没有等待确认的操作，或已超时：请重新发送。"),
    "no_list": ("There is no list to choose from. Write runs.", "没有可选的列表。发“运行”。"),
    "not_in_list": ("The list has {n} entries.", "列表只有 {n} 项。"),
    "not_yours": ("This button does nothing any more.", "这个按钮已失效。"),
    "muted": ("Muted for {span}. Alarms still come, without a sound.", "已静音 {span}。警报仍会到达，但无声。"),
    "unmuted": ("Not muted any more.", "已取消静音。"),
    "which_lang": ("lang en or lang zh?", "lang en 还是 lang zh？"),
    "lang_set": ("English it is.", "好的，用中文。"),
    "every_off": ("No more regular lines.", "不再定期发送。"),
    "every_on": ("A line of metrics every {amount}. every off ends it.", "每 {amount} 发送一行指标。“每 关”结束。"),
    "watching": ("I will tell you when {what}.", "当 {what} 时会告诉你。"),
    "watch_off": ("Nothing is watched any more.", "不再关注。"),
    "watch_none": ("Nothing is watched. For example: watch loss<0.3", "没有关注的条件。例如：关注 loss<0.3"),
    "group_on": (
        "This group is now told of alarms, starts and ends. watch off ends it.",
        "本群现在会收到警报、开始和结束的消息。“关注 关”结束。",
    ),
    "evening": (
        "A run goes on, and this chat falls asleep before the morning: answer with any letter, and alarms can reach you here tonight.",
        "训练仍在进行，而本聊天在早上之前会休眠：回复任意一个字，今晚的警报才能送达。",
    ),
    "minimal": (
        "This chat is set to show no names and no values: look on the page.",
        "本聊天设置为不显示名称和数值：请在页面上查看。",
    ),
    "fault": (
        "Something went wrong here, and it may not have been done. Write status to see.",
        "这里出错了，操作可能没有执行。发“状态”查看。",
    ),
    "no_metric": ("{run} has no metric {name}.", "{run} 没有指标 {name}。"),
}


def told(lang: str, phrase: str, /, **facts: Any) -> str:
    """A sentence in a language."""
    return PHRASES[phrase][1 if lang == "zh" else 0].format(**facts)

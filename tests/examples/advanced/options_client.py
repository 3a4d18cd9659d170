import asyncio

from options import risky_order, send_email


async def main():
    # Override queue and priority
    task_id = await send_email.options(
        queue="high-priority",
        priority=10
    ).queue(to="vip@example.com", subject="Urgent", body="...")
    print(task_id)
    print(await risky_order.queue(order_id="o1"))

asyncio.run(main())

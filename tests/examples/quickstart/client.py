# client.py
import asyncio
from app import send_email, process_order

async def main():
    # Enqueue a task
    task_id = await send_email.queue(
        to="user@example.com",
        subject="Welcome",
        body="Thanks for signing up!"
    )
    print(f"Task enqueued: {task_id}")

    # Enqueue a workflow
    workflow_id = await process_order.queue(
        order_id="order_123",
        amount=5000,
        email="customer@example.com",
        card_token="tok_visa"
    )
    print(f"Workflow enqueued: {workflow_id}")

asyncio.run(main())

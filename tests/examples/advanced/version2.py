from currant import get_version, task, workflow

phone = "+44 20 7946 0000"

@task(retries=3, timeout=60)
async def charge_card(amount: int, card_token: str):
    return {"transaction_id": "txn_123", "amount": amount}

@task(queue="receipts")
async def send_receipt(email: str, amount: int):
    print(f"Sending receipt for ${amount} to {email}")

@task
async def send_sms_notification(phone: str, text: str):
    print(f"SMS to {phone}: {text}")

@workflow(queue="orders", version=2)
async def process_order(order_id: str, amount: int, email: str, card_token: str):
    charge_result = await charge_card.run(amount, card_token)

    # Feature added in version 2
    if get_version("send_sms", 1, 2) >= 2:
        await send_sms_notification.run(phone, "Order confirmed!")

    await send_receipt.run(email, amount)
    return {"order_id": order_id}

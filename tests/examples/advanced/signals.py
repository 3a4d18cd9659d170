from currant import task, wait_for_signal, workflow


@task()
async def process_document(document_id: str):
    print(f"Processing {document_id}")


@workflow(queue="approvals", version=1)
async def approval_workflow(document_id: str):
    # Wait for approval signal (suspends workflow)
    approval = await wait_for_signal("approved", timeout=86400)  # 24 hours

    if approval["approved"]:
        await process_document.run(document_id)
        return {"status": "approved"}
    else:
        return {"status": "rejected"}

"""The demo: a page in the browser that asks an image, shows the evidence, and chats about images.

It holds an `Engine`, in this process or at a worker, and nothing of the model. It listens on this
machine only and loads nothing from elsewhere. `page`, its tabs, `forms` and `launch` need gradio
and `chatting` langchain, the extra `demo`. May import `tools`, `engine.base`, `figures`, `images`,
`pico` for its example, and the hall.
"""

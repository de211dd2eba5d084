"""What was redacted of a delivery, and when a source last sent a secret in a header. Both are empty for what is stored.

Neither writes a row again. The release before leaves both empty.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ('webhooks', '0014_tokens'),
    ]

    operations = [
        migrations.AddField(
            model_name='delivery',
            name='redacted',
            field=models.JSONField(
                blank=True, help_text='How many values each path of HOOKLINE_REDACT has replaced.', null=True
            ),
        ),
        migrations.AddField(
            model_name='source',
            name='encoded_secret_at',
            field=models.DateTimeField(
                blank=True, help_text='When a delivery of it last carried a secret in a header.', null=True
            ),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='body_bytes',
            field=models.PositiveIntegerField(help_text='Length of the body in clear.'),
        ),
        migrations.AlterField(
            model_name='payload',
            name='body',
            field=models.BinaryField(help_text='The raw body, or what `inbox/kept_bodies.py` has made of it.'),
        ),
    ]
